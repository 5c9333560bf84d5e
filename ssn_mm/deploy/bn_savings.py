"""What a deployed network would save if layers that measure their input were batch norm."""

import copy
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from statistics import median

import torch
from torch import Tensor, nn

from ..layers import layers_that_measure, ssn_layers
from ..layers.plain_norm import plain_norm
from ..layers.replacing import replace_modules
from .export import as_onnx
from .fold import fold
from .onnx_program import OnnxProgram
from .precision import FileNetwork
from .tensor_mode import TensorMode

_ROUNDS = 5  # at least, in which layers and networks are timed


@dataclass(frozen=True)
class MeasuringLayer:
    """A layer that measures its input.

    Attributes:
        name: Its name in the network.
        measures: What it measures: 'LN', or 'IN, BN' where mean and variance differ.
        map_shape: Shape of its input.
        seconds: Its time in one forward pass, a median.
        vanishes: Whether batch norm in its place would be folded into the layer before it.
    """

    name: str
    measures: str
    map_shape: tuple[int, ...]
    seconds: float
    vanishes: bool


@dataclass(frozen=True)
class BnSavings:
    """What batch norm in the place of layers that measure would save, in PyTorch and float32.

    Attributes:
        layers: The layers that measure, that which takes longest first.
        seconds: Time of the network as it is, a median.
        ratio: Time of the network with batch norm in the place of all these layers, folded, as a
            part of the time as it is; a median of ratios measured side by side.
    """

    layers: Sequence[MeasuringLayer]
    seconds: float
    ratio: float

    def __str__(self) -> str:
        from ..timing.tables import table  # needs NumPy, which this module's import does not

        if not self.layers:
            return 'No layer measures its input: all batch norm is folded away.\n'
        lines = [
            [
                layer.name,
                layer.measures,
                'x'.join(map(str, layer.map_shape)),
                f'{4 * prod(layer.map_shape) / 1e6:.2f}',
                f'{prod(layer.map_shape) / 1e6:.2f}',
                f'{layer.seconds * 1e3:.3f}',
                f'{layer.seconds / self.seconds:.1%}',
                'vanishes' if layer.vanishes else 'stays, a scale and a shift',
            ]
            for layer in self.layers
        ]
        head = ['layer', 'measures', 'map', 'MB float32', 'MB int8', 'ms', 'of all', 'as BN']
        return (
            f'{table(head, lines)}\n\n{len(lines)} layers measure their input. As batch norm, of '
            f'which fine-tuning must make them, the network would take {self.ratio:.2f} of its '
            f'time, {self.seconds * 1e3:.2f} ms; docs/deploy.md says how.\n'
        )


@torch.no_grad()
def bn_savings(model: nn.Module, inputs: Tensor, seconds: float = 5.0) -> BnSavings:
    """Measures what the layers of a network cost that measure their input: those of IN, LN and GN.

    The network is folded as ``fold`` does, as it is and with batch norm in their place.

    Args:
        model: A frozen network in evaluation that nobody has folded, of OpenMMLab or any other. It
            is left as it is.
        inputs: Typical preprocessed inputs, on which times are measured.
        seconds: How long the networks are timed.
    """
    names = layers_that_measure(model)
    now, bn = copy.deepcopy(model), with_bn(model, inputs)
    fold(TensorMode(now).eval(), inputs)
    times, shapes = _times(now, inputs, names)
    if not times:
        return BnSavings([], 0.0, 1.0)
    took, ratio = _compared(TensorMode(now).eval(), TensorMode(bn).eval(), inputs, seconds)
    layers = [
        MeasuringLayer(
            name,
            names[name],
            shapes[name],
            times[name],
            isinstance(bn.get_submodule(name), nn.Identity),
        )
        for name in sorted(times, key=lambda name: -times[name])
    ]
    return BnSavings(layers, took, ratio)


@torch.no_grad()
def bn_ratio_in_onnxruntime(
    model: nn.Module, network: FileNetwork, inputs: Tensor, seconds: float = 5.0
) -> float:
    """Time in onnxruntime with batch norm in the place of layers that measure, as a part of now's.

    What a norm costs beside itself is in it: in int8 its map becomes float32 and 8 bits again.

    Args:
        model: A frozen network in evaluation that nobody has folded.
        network: The same, folded, as it is exported.
        inputs: Inputs of the kind that the file takes, on which times are measured.
        seconds: How long the programs are timed.

    Raises:
        ImportError: onnx, onnxscript or onnxruntime is not installed.
        ValueError: The network cannot be exported.
    """
    preprocessed = network.preprocessing(inputs) if network.preprocessing else inputs
    bn = with_bn(model, preprocessed)
    instead = FileNetwork(bn, network.precision, network.preprocessing, network.samples)
    now, then = (OnnxProgram(as_onnx(own, inputs, {})) for own in (network, instead))
    return _compared(now, then, inputs, seconds)[1]


def _compared(
    now: Callable[[Tensor], Tensor],
    then: Callable[[Tensor], Tensor],
    inputs: Tensor,
    seconds: float,
) -> tuple[float, float]:
    """Seconds of one function, and the ratio of another's to it, medians of alternating rounds."""
    from ..timing.rounds import TOTAL, Competitor, interleave  # NumPy, as above

    competitors = {
        name: Competitor({'forward': partial(run, inputs)})
        for name, run in (('now', now), ('then', then))
    }
    laps = interleave(competitors, rounds=_ROUNDS, seconds=seconds)
    own, other = laps['now'][TOTAL], laps['then'][TOTAL]
    return median(own.tolist()), median((other / own).tolist())


@torch.no_grad()
def with_bn(model: nn.Module, inputs: Tensor) -> nn.Module:
    """A copy of a network with batch norm in the place of all layers that measure, folded.

    It is as fast as a fine-tuned network would be, and computes something else: the statistics of
    these layers are 0 and 1.

    Args:
        model: A frozen network in evaluation that nobody has folded.
        inputs: Typical preprocessed inputs.
    """
    copied = copy.deepcopy(model)
    _, shapes = _times(copied, inputs, layers_that_measure(copied))
    plain: dict[nn.Module, nn.Module] = {
        copied.get_submodule(name): plain_norm(
            'BN', shape[1], len(shape) - 2, 1e-5, 0.1, 1, True
        ).eval()
        for name, shape in shapes.items()
    }
    copied = replace_modules(copied, plain)
    fold(TensorMode(copied).eval(), inputs)
    return copied


def _times(
    model: nn.Module, inputs: Tensor, names: Iterable[str]
) -> tuple[dict[str, float], dict[str, tuple[int, ...]]]:
    """Seconds of a forward pass in each of some layers, and the shape of its input, by name.

    A layer that runs several times has the sum of its times, and the shape of the last.
    """
    rounds: dict[str, list[float]] = {name: [] for name in names}
    shapes: dict[str, tuple[int, ...]] = {}
    started = dict[str, float]()

    def enter(name: str) -> Callable:
        def hook(layer: nn.Module, args: tuple[Tensor, ...]) -> None:
            shapes[name] = tuple(args[0].shape)
            started[name] = time.perf_counter()

        return hook

    def leave(name: str) -> Callable:
        def hook(*_: object) -> None:
            rounds[name][-1] += time.perf_counter() - started[name]

        return hook

    handles = [
        handle
        for name in rounds
        for handle in (
            model.get_submodule(name).register_forward_pre_hook(enter(name)),
            model.get_submodule(name).register_forward_hook(leave(name)),
        )
    ]
    try:
        for _ in range(1 + _ROUNDS):
            for own in rounds.values():
                own.append(0.0)
            TensorMode(model)(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return {name: median(rounds[name][1:]) for name in shapes}, shapes


@torch.no_grad()
def select_bn(model: nn.Module, names: Iterable[str] | None = None) -> None:
    """Has SSN layers of a trained network select BN, in place, to be fine-tuned.

    Outputs change. Measure the running statistics afterwards, with ``ssn_mm.update_bn`` or
    tools/recalibrate.py; then train on, with a small learning rate. A selected row has no gradient,
    so these layers stay BN.

    Args:
        model: A trained network, not wrapped for distribution.
        names: Names of layers, such as :func:`bn_savings` has them; None for all.

    Raises:
        ValueError: A name is of no SSN, or a layer has no BN among its normalizers. Nothing is
            changed.
    """
    layers = dict(ssn_layers(model))
    wanted = list(layers) if names is None else list(names)
    for name in wanted:
        if name not in layers:
            raise ValueError(f'{name!r} is no SSN of the network; it has {", ".join(layers)}')
        if 'BN' not in layers[name].normalizers:
            raise ValueError(f'{name} cannot select BN, it has {layers[name].normalizers}')
    for name in wanted:
        layer = layers[name]
        vertex = torch.tensor([float(own == 'BN') for own in layer.normalizers])
        layer.ratio_logits.copy_(vertex.expand_as(layer.ratio_logits))
        layer.selection.forget()
