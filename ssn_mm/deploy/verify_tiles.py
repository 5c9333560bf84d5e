"""Compares sliding windows with whole pictures, for each deployed network of a segmentor."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from torch import Tensor, nn

from ..layers.measuring import TILES_CHANGE, layers_that_measure
from ..timing.tables import table
from .example_inputs import input_size
from .networks import (
    equal_labels,
    input_channels,
    network_config,
    predictions,
    task_of,
    with_program,
)
from .tiles import TileReport, blame, check_window
from .verify import Program, sample_batches

Window = tuple[tuple[int, int], tuple[int, int]]  # height and width; stride down and to the right
_TRIED = 4  # samples for which each layer is tried, which takes a run of all windows


def window_of(cfg: Config, slide: Sequence[int] | None = None) -> Window | None:
    """The sliding window to compare with whole pictures, in pixels; None if none is asked for.

    Args:
        cfg: The config.
        slide: Height and width in pixels of a window, one number for both, and its stride, two
            thirds of it if left out; empty for the window that the config tests with, else the
            size of its training. None asks for it only if the config tests in sliding windows.

    Raises:
        ValueError: ``slide`` is not such numbers, or is empty and the config tells none; or it is
            there and the network is no segmentor.
    """
    cfg = network_config(cfg)
    if task_of(cfg) != 'segmentation':
        if slide is not None:
            raise ValueError(f'--slide is for segmentation, and the config has {cfg.model.type}')
        return None
    if slide:
        if len(slide) > 2:
            raise ValueError(f'--slide takes CROP and STRIDE, got {list(slide)}')
        return check_window(*slide)
    test_cfg = cfg.model.get('test_cfg') or {}
    if test_cfg.get('mode') == 'slide':
        return check_window(test_cfg['crop_size'], test_cfg['stride'])
    if slide is None:
        return None
    size = input_size(cfg, nn.Module())
    if size is None:
        raise ValueError('the config tells no size of a window; give --slide CROP [STRIDE]')
    return check_window(size)


def verify_tiles(
    cfg: Config, model: Any, networks: Mapping[str, Program], count: int, window: Window
) -> str:
    """Compares sliding windows with whole pictures, and says which layers change labels.

    Both are run by mmsegmentation. Layers are tried in the frozen network, for at most 4 samples.

    Args:
        cfg: The config, which gives the samples, see :func:`.verify.verify_outputs`.
        model: The OpenMMLab model, which preprocesses the samples and predicts from outputs.
        networks: Functions of preprocessed inputs, by name; 'frozen' is a :class:`TensorMode`.
        count: Number of samples.
        window: Size and stride of the windows.

    Returns:
        A table with a line for each network, and one of layers.
    """
    size, step = window
    windows = f'sliding windows of {size[0]}x{size[1]} pixels with a stride of {step[0]}x{step[1]}'
    photograph = (input_channels(model), 2 * size[0], 2 * size[1])
    source, batches = sample_batches(cfg, model, photograph, count)
    found = {name: _Compared() for name in networks}
    tried: list[tuple[Callable[[], Tensor], Callable[[], Tensor]]] = []
    seen = larger = 0
    for inputs, samples in batches:
        seen += 1
        if inputs.size(-2) <= size[0] and inputs.size(-1) <= size[1]:
            continue
        larger += 1
        for name, network in networks.items():
            predict = partial(_predict, model, network, inputs, samples)
            found[name].add(predict(None), predict(window))
        if len(tried) < _TRIED:
            labels = partial(_labels, model, networks['frozen'], inputs, samples)
            tried.append((partial(labels, None), partial(labels, window)))
    if not larger:
        return f'{windows.capitalize()} change nothing: none of {seen} {source} is larger.\n'
    lines = [
        [name, f'{own.equal} of {own.total}', f'{own.worst:.2g}'] for name, own in found.items()
    ]
    head = ['network', 'labels equal', 'largest difference, relative']
    report = blame(networks['frozen'].model, tried)  # type: ignore[attr-defined]
    return (
        f'Whole pictures and {windows}, on {larger} {source}:\n\n{table(head, lines)}\n\n'
        f'{describe(report, len(tried))}'
    )


def hint_at_tiles(frozen: Any) -> str:
    """Says of a frozen segmentor, in tensor mode, whether windows change labels; '' if not."""
    measuring = len(layers_that_measure(frozen))
    if not measuring:
        return ''
    return (
        f'{measuring} norms measure what they are given, so that sliding windows would change '
        'labels. --slide says how many, and by which layers.\n'
    )


def describe(report: TileReport, pictures: int) -> str:
    """A report in words, with a table of layers.

    Args:
        report: The report.
        pictures: Of how many pictures it is.
    """

    def share(labels: int) -> str:
        return f'{labels / report.total:.2%}'.replace('%', ' %')

    said = f'On {pictures} of them windows change {share(report.changed)} of the labels. '
    if not report.measures:
        return said + 'No norm measures its input, so this is none of theirs.\n'
    lines = [[name, report.measures[name], share(own)] for name, own in report.layers.items()]
    return (
        f'{said}{len(report.measures)} norms measure the window; if all of them were given the '
        f'statistics of the whole picture, {share(report.rest)} would change, by the borders of '
        f'windows and by other layers that see the whole picture. Each alone:\n\n'
        + table(['layer', 'measures (mean, variance)', 'labels changed'], lines)
        + '\n'
    )


@dataclass
class _Compared:
    """Whole pictures and sliding windows of a network: equal labels, labels, worst difference."""

    equal: int = 0
    total: int = 0
    worst: float = 0.0

    def add(self, whole: list, slid: list) -> None:
        equal, total = equal_labels(whole, slid)
        self.equal, self.total = self.equal + equal, self.total + total
        for one, other in zip(whole, slid, strict=True):
            scores = one.seg_logits.data
            change = (scores - other.seg_logits.data).abs().max() / scores.abs().max().clamp(
                min=1e-12
            )
            self.worst = max(self.worst, change.item())


def _predict(
    model: Any, program: Program, inputs: Tensor, samples: list | None, window: Window | None
) -> list:
    """Predictions for preprocessed inputs, in windows or, with None, whole."""
    served = with_program(model, program)
    served.test_cfg = ConfigDict(model.test_cfg or {}, mode='slide' if window else 'whole')
    if window:
        served.test_cfg.update(crop_size=window[0], stride=window[1])
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', TILES_CHANGE)  # the report says more
        return predictions(served, inputs, samples)


def _labels(*arguments: Any) -> Tensor:
    return torch.cat([one.pred_sem_seg.data.flatten() for one in _predict(*arguments)])
