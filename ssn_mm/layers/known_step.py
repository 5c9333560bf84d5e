"""Training steps on a CPU like the one before, which go straight to their kernel.

All that a call has to look at takes some ten microseconds of Python, and a multiple of that where
other layers have pushed it out of the caches: more than the kernels take on a small map.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..ops.dispatch import get_backend
from ..ops.norm import Logits, Norm, PerChannel
from ..ops.running_stats import Update
from ..ops.selected_norm import is_faster_in_torch
from ..ops.switch_norm import implementation
from ..ops.tracing import is_recomputing, is_traced
from .selection import selected_names


class KnownStep(NamedTuple):
    """What a step has found out that holds for the next one, too.

    Attributes:
        shape: Shape of the map.
        dtype: Its type.
        backend: What ``get_backend`` returned.
        settings: The layer's, as the description of a normalization whose ratios compete.
        names: The normalizers of mean and variance where both are selected, else None.
        norm: The description of the normalization that was computed.
        kernel: What computes it.
    """

    shape: torch.Size
    dtype: torch.dtype
    backend: str
    settings: Norm
    names: tuple[str, str] | None
    norm: Norm
    kernel: Callable[..., tuple[Tensor, Tensor]]


def known_step(layer: Any, x: Tensor) -> KnownStep | None:
    """What is known after a call of an SSN; None where the next one has to look at all again."""
    if is_traced(x) or not (_is_plain(layer) and x.is_cpu and layer.has_area):
        return None
    norm = settings = _settings_of(layer)
    names = _selected(layer)
    if names is not None:
        mean, var = names
        if mean == var and is_faster_in_torch(mean, x):
            return None
        own = (mean,) if mean == var else names
        norm = Norm(own, settings.eps, settings.num_groups, source='selected')
    kernel = implementation(x, norm)
    return KnownStep(x.shape, x.dtype, get_backend(), settings, names, norm, kernel)


def repeat_step(layer: Any, x: Tensor) -> Tensor | None:
    """Normalizes ``x`` as the step before did; None where that one does not tell all."""
    if is_traced(x):
        return None
    known: KnownStep | None = layer.selection.step
    if (
        known is None
        or x.shape != known.shape
        or x.dtype != known.dtype
        or not (x.is_cpu and _is_plain(layer))
        or is_recomputing()
        or get_backend() != known.backend
        or _settings_of(layer) != known.settings
        or _selected(layer) != known.names
    ):
        return None
    parameters, buffers = layer._parameters, layer._buffers
    logits, selected = parameters['ratio_logits'], known.names is not None
    mean, update = buffers['running_mean'], None
    if mean is not None:
        buffers['num_batches_tracked'].add_(1)
        if 'BN' in known.norm.normalizers:
            column = None if selected else layer.normalizers.index('BN')
            update = Update(mean, buffers['running_var'], layer.momentum, column)
    channels = PerChannel(parameters['weight'], parameters['bias'])
    given = Logits(logits, None if selected else buffers['radius'])
    y, ratios = known.kernel(x, given, known.norm, channels, update)
    if torch.is_grad_enabled() and logits.is_leaf:
        layer.selection.note_run(logits, None if selected else ratios, known.names)
    return y


def _is_plain(layer: Any) -> bool:
    """Whether a layer is in the state that steps are known for; others look at more."""
    logits = layer._parameters.get('ratio_logits')
    return (
        layer.training
        and type(logits) is nn.Parameter
        and logits.is_cpu
        and not (layer._has_fbn or layer.sync or layer.correction)
        and type(layer.momentum) is float
        and {'weight', 'bias'} <= layer._parameters.keys()
        and {'running_mean', 'running_var', 'num_batches_tracked', 'radius'}
        <= layer._buffers.keys()
    )


def _selected(layer: Any) -> tuple[str, str] | None:
    return selected_names(layer._parameters['ratio_logits'].tolist(), layer.normalizers)


def _settings_of(layer: Any) -> Norm:
    return Norm(layer.normalizers, layer._eps, layer.num_groups, source='logits')
