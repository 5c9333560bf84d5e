"""What tiling a picture does to a network whose norms measure what they are given."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, product

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers.measuring import MeasuringNorm, measuring_norms
from ..ops.moments import Moments
from .tensor_mode import TensorMode

Statistics = dict[str, list[Moments]]  # of each layer by name, for each of its calls in order


@dataclass(frozen=True)
class TileReport:
    """How many labels change when pictures are run in tiles, and which layers do it.

    Attributes:
        total: Number of labels.
        changed: How many of them tiles change.
        rest: How many tiles change even if every norm is given the statistics of the whole picture:
            by zeros at the tiles' borders, and by other layers that see the whole picture, such as
            pooling.
        measures: What each layer that measures a tile measures, by name, see
            :func:`ssn_mm.layers.layers_that_measure`.
        layers: How many labels each of these layers changes by measuring tiles, where all others
            are given the statistics of the whole picture; by name, the largest first.
    """

    total: int
    changed: int
    rest: int
    measures: dict[str, str]
    layers: dict[str, int]


@contextmanager
def whole_picture_statistics(model: nn.Module, picture: Tensor) -> Iterator[None]:
    """Has a network normalize tiles by the statistics of the picture that they are cut from.

    The picture is run once. Within the ``with`` block every layer that measures takes what it
    measured there, so that tiles differ from the whole picture by their borders alone.

    Args:
        model: A network in evaluation, of OpenMMLab or any other.
        picture: Its input, (N, C, H, W). Tiles of one picture may be run in batches of any size,
            those of N pictures in batches of N.

    Raises:
        ValueError: The network is in training mode.
    """
    function = _evaluated(model)
    layers = measuring_norms(model)
    with torch.no_grad():
        _, statistics = _measure(model, layers, lambda: function(picture))
    with _given(model, layers, statistics):
        yield


@torch.no_grad()
def tile_report(
    model: nn.Module,
    picture: Tensor,
    crop: int | tuple[int, int],
    stride: int | tuple[int, int] | None = None,
) -> TileReport:
    """Compares the labels of whole pictures and of overlapping tiles, and blames layers.

    Scores of overlapping tiles are averaged, as in mmsegmentation's sliding windows. Smaller scores
    than the input are interpolated. The label of a pixel is the channel of its largest score, and
    of a single channel whether it is above 0. All tiles are run once for each layer that measures.

    Args:
        model: A segmentation network in evaluation, of OpenMMLab or any other.
        picture: Its input, (N, C, H, W).
        crop: Height and width of a tile in pixels, or one number for both.
        stride: Distance of tiles in pixels, at most ``crop``; two thirds of it by default.

    Raises:
        ValueError: The stride leaves gaps, a number is not positive, or the network is in training
            mode.
    """
    function = _evaluated(model)
    size, step = check_window(crop, stride)

    def labels(scores: Tensor) -> Tensor:
        return scores.argmax(1) if scores.size(1) > 1 else scores[:, 0] > 0

    def whole() -> Tensor:
        return labels(_scores(function, picture))

    def tiled() -> Tensor:
        return labels(_slide(function, picture, size, step))

    return blame(model, [(whole, tiled)])


def check_window(
    crop: int | Sequence[int], stride: int | Sequence[int] | None = None
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Height and width of a sliding window and of its steps, in pixels.

    Args:
        crop: Of the window, or one number for both.
        stride: Of the steps, likewise; two thirds of the window by default.

    Raises:
        ValueError: A number is not positive, or the steps leave gaps.
    """
    height, width = (crop, crop) if isinstance(crop, int) else crop
    if stride is None:
        stride = (max(2 * height // 3, 1), max(2 * width // 3, 1))
    down, right = (stride, stride) if isinstance(stride, int) else stride
    if not (0 < down <= height and 0 < right <= width):
        raise ValueError(
            f'windows of {height}x{width} pixels with a stride of {down}x{right}: the stride must '
            'be at least 1 and at most the size of the window'
        )
    return (height, width), (down, right)


def blame(
    model: nn.Module, samples: Iterable[tuple[Callable[[], Tensor], Callable[[], Tensor]]]
) -> TileReport:
    """Compares the labels of whole pictures and of tiles, and says which layers change how many.

    Args:
        model: The network that both functions of a sample run, in evaluation.
        samples: For each picture a function that runs it as a whole and returns its labels, and
            one that runs it in tiles and returns as many.
    """
    layers = measuring_norms(model)
    total = changed = rest = 0
    alone: dict[str, int] = {}
    for whole, tiled in samples:
        expected, statistics = _measure(model, layers, whole)
        with _given(model, layers, statistics):
            given = tiled()
        total, changed = total + given.numel(), changed + _unequal(tiled(), expected)
        rest += _unequal(given, expected)
        for name in statistics:
            others = {key: own for key, own in statistics.items() if key != name}
            with _given(model, layers, others):
                alone[name] = alone.get(name, 0) + _unequal(tiled(), given)
    measures = {name: layers[name].measures for name in alone}
    ordered = dict(sorted(alone.items(), key=lambda item: -item[1]))
    return TileReport(total, changed, rest, measures, ordered)


def _evaluated(model: nn.Module) -> TensorMode:
    if any(module.training for module in model.modules()):
        raise ValueError('the network is in training mode; call model.eval() first')
    return TensorMode(model).eval()


def _measure(
    model: nn.Module, layers: Mapping[str, MeasuringNorm], run: Callable[[], Tensor]
) -> tuple[Tensor, Statistics]:
    """What a function returns that runs the network, and what the layers that it uses measure.

    Args:
        model: The network.
        layers: Its layers by name.
        run: The function.
    """
    found: Statistics = {}

    def note(name: str) -> Callable:
        return lambda _, given: found.setdefault(name, []).append(layers[name].moments(given[0]))

    # before the layer runs, which may overwrite its input
    hooks = [model.get_submodule(n).register_forward_pre_hook(note(n)) for n in layers]
    try:
        return run(), found
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _given(
    model: nn.Module,
    layers: Mapping[str, MeasuringNorm],
    statistics: Statistics,
) -> Iterator[None]:
    """Has layers take statistics instead of measuring.

    Args:
        model: The network.
        layers: Its layers by name.
        statistics: What each of them takes, call by call, and from the start again; others measure.
    """

    def forward_of(name: str) -> Callable[[Tensor], Tensor]:
        layer, turns = layers[name], cycle(statistics[name])
        return lambda x: layer.normalize(x, next(turns))

    modules = [(model.get_submodule(name), forward_of(name)) for name in statistics]
    before = [vars(module).get('forward') for module, _ in modules]
    try:
        for module, forward in modules:
            module.forward = forward
        yield
    finally:
        for (module, _), own in zip(modules, before, strict=True):
            if own is None:
                vars(module).pop('forward', None)
            else:
                module.forward = own


def _unequal(one: Tensor, other: Tensor) -> int:
    return int((one != other).sum())


def _scores(function: Callable[[Tensor], Tensor], picture: Tensor) -> Tensor:
    scores = function(picture)
    if scores.shape[2:] == picture.shape[2:]:
        return scores
    return F.interpolate(scores, picture.shape[2:], mode='bilinear')


def _slide(
    function: Callable[[Tensor], Tensor],
    picture: Tensor,
    size: tuple[int, int],
    step: tuple[int, int],
) -> Tensor:
    """Scores (N, K, H, W) of a picture, averaged over tiles, the last of which end at its borders.

    Args:
        function: A network.
        picture: (N, C, H, W).
        size: Height and width of a tile.
        step: Distance of tiles, down and to the right.
    """
    rows, columns = (
        [min(start, max(whole - own, 0)) for start in range(0, max(whole - own, 0) + by, by)]
        for whole, own, by in zip(picture.shape[2:], size, step, strict=True)
    )
    total, count = None, picture.new_zeros(picture.shape[2:])
    for top, left in product(dict.fromkeys(rows), dict.fromkeys(columns)):
        place = (..., slice(top, top + size[0]), slice(left, left + size[1]))
        scores = _scores(function, picture[place])
        if total is None:
            total = scores.new_zeros(*scores.shape[:2], *picture.shape[2:])
        total[place] += scores
        count[place] += 1
    assert total is not None  # a picture has at least one tile
    return total / count
