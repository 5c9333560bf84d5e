"""Recalibration of batch norm's running statistics: the authors' 'batch average' mode."""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.dist import all_gather
from torch import Tensor, nn

from ..layers import SwitchNorm
from ..layers.averaging import measured_rows
from ..ops.moments import batch_moments, double, instance_moments


class ChannelMoments(NamedTuple):
    """Moments of a number of elements per channel, in float64."""

    total: Tensor  # (1,), number of elements
    mean: Tensor  # (C,)
    squares: Tensor  # (C,), sum of squared distances from the mean

    @classmethod
    def of(cls, x: Tensor) -> 'ChannelMoments':
        """Moments of ``x`` (N, C, *spatial)."""
        mean, var = (t[0] for t in batch_moments(*instance_moments(double(x))))
        total = mean.new_full((1,), x.numel() // x.size(1))
        return cls(total, mean, var * total)

    @classmethod
    def none(cls, like: Tensor) -> 'ChannelMoments':
        """Moments of no element, for as many channels as ``like`` (C,)."""
        zeros = torch.zeros_like(double(like))
        return cls(zeros.new_zeros(1), zeros, zeros)

    def merge(self, other: 'ChannelMoments') -> 'ChannelMoments':
        """Moments of both together, centred (Chan et al.): E[x²] - E[x]² would cancel."""
        total, apart = self.total + other.total, other.mean - self.mean
        part = other.total / total.clamp(min=1)
        squares = self.squares + other.squares + apart.square() * (self.total * part)
        return ChannelMoments(total, self.mean + apart * part, squares)


@torch.no_grad()
def measure_statistics(
    model: nn.Module, batches: Iterable[Any], forward: Callable[[Any], object]
) -> list[str]:
    """Sets running statistics to the moments of what the layers see in all batches together.

    Measured are layers in training mode that use batch norm: ``nn.BatchNorm`` and its kin, SN, and
    an SSN as long as one of its ratios of BN is above 0; an SSN that selected otherwise keeps what
    it has, and so do layers that are held in evaluation mode (``norm_eval``). FBN's constants are
    measured where there are none yet, and kept where there are some, see
    :func:`ssn_mm.update_bn`. In the forward
    passes these layers use the batch's own statistics, as in training, and all else works as in
    evaluation, since a value that dropout scaled is not what evaluation will see. Mean and
    variance are those of the union of the batches (of the mean of each batch's variance, they
    would lack how far the batches' means lie apart), the variance unbiased, as ``nn.BatchNorm``
    keeps it. Processes each measure their batches, and end with equal statistics, to the bit.

    Nothing else changes: modes, ``num_batches_tracked``, ratios, radius, and the state of all
    random generators. An error or Ctrl-C leaves the old statistics.

    Args:
        model: Any module, not wrapped for distribution.
        batches: Batches that ``forward`` takes; the same number in each process.
        forward: Runs the network on a batch.

    Returns:
        Names of the layers measured; none if no layer uses batch norm, and then nothing is run.

    Raises:
        ValueError: There is no batch, or a layer saw values that are not finite.
    """
    layers = {name: m for name, m in model.named_modules() if m.training}
    rows = {name: measured_rows(m) for name, m in layers.items()}
    rows = {name: which for name, which in rows.items() if any(which)}
    layers = {name: layers[name] for name in rows}
    if not layers:
        return []
    measured = {name: ChannelMoments.none(layer.running_mean) for name, layer in layers.items()}  # type: ignore[arg-type]
    with (
        random_numbers_kept(model),
        _batch_statistics(model, zip(layers.values(), rows.values(), strict=True)),
    ):
        _watch(layers, measured, batches, forward)
    merged = _over_processes(measured)
    for name, found in merged.items():
        if not (found.mean.isfinite() & found.squares.isfinite()).all():
            raise ValueError(
                f'{name} sees values that are not finite (NaN or infinite), so its statistics '
                'would not be; the weights or the data are broken'
            )
    seen = {name: found for name, found in merged.items() if found.total}
    if not seen:
        raise ValueError('there is no batch to measure the statistics on')
    for name, found in seen.items():
        has_mean, has_var = rows[name]
        if has_mean:
            layers[name].running_mean.copy_(found.mean)
        if has_var:
            layers[name].running_var.copy_(found.squares / (found.total - 1).clamp(min=1))
    return list(seen)


def _watch(
    layers: Mapping[str, nn.Module],
    measured: dict[str, ChannelMoments],
    batches: Iterable[Any],
    forward: Callable[[Any], object],
) -> None:
    """Adds to ``measured`` what each layer sees."""

    def note(name: str) -> Callable:
        def hook(layer: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
            (x,) = (*args, *kwargs.values())  # a layer may be called by keyword
            if x.numel():
                measured[name] = measured[name].merge(ChannelMoments.of(x))

        return hook

    handles = [
        layer.register_forward_pre_hook(note(name), with_kwargs=True)
        for name, layer in layers.items()
    ]
    try:
        for batch in batches:
            forward(batch)
    finally:
        for handle in handles:
            handle.remove()


def _over_processes(measured: Mapping[str, ChannelMoments]) -> dict[str, ChannelMoments]:
    """Merges what all processes measured, in the same order in each."""
    sizes = [part.numel() for moments in measured.values() for part in moments]
    own = torch.cat([part for moments in measured.values() for part in moments])
    merged: dict[str, ChannelMoments] = {}
    for gathered in all_gather(own):
        parts = iter(gathered.split(sizes))
        for name in measured:
            theirs = ChannelMoments(next(parts), next(parts), next(parts))
            merged[name] = merged[name].merge(theirs) if name in merged else theirs
    return merged


@contextmanager
def _batch_statistics(
    model: nn.Module, layers: Iterable[tuple[nn.Module, tuple[bool, bool]]]
) -> Iterator[None]:
    """Within it a network evaluates, and layers use each batch's statistics and keep none."""
    modes = [(module, module.training) for module in model.modules()]
    kept = [(layer, rows, layer.running_mean, layer.running_var) for layer, rows in layers]
    model.eval()
    for layer, rows, *_ in kept:
        if isinstance(layer, SwitchNorm) and 'FBN' in layer.normalizers:
            layer.measured_rows = rows
        elif isinstance(layer, SwitchNorm):  # in training mode it would count the batch
            layer.running_mean = layer.running_var = None
        else:  # in evaluation mode SyncBatchNorm would not synchronise
            layer.training, layer.track_running_stats = True, False  # type: ignore[assignment]
    try:
        yield
    finally:
        for layer, _, mean, var in kept:
            layer.running_mean, layer.running_var = mean, var
            vars(layer).pop('measured_rows', None)
            if not isinstance(layer, SwitchNorm):
                layer.track_running_stats = True  # type: ignore[assignment]
        for module, mode in modes:
            module.training = mode


@contextmanager
def buffers_kept(model: nn.Module) -> Iterator[None]:
    """Within it buffers may change; afterwards they have the values that they had."""
    kept = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in kept:
                buffer.copy_(value)


@contextmanager
def random_numbers_kept(model: nn.Module) -> Iterator[None]:
    """Within it random numbers are drawn as anywhere; afterwards none has been drawn."""
    python, numpy_state = random.getstate(), np.random.get_state()
    devices = sorted({p.device.index for p in model.parameters() if p.is_cuda})
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy_state)
