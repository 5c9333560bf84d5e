"""Training steps on a CPU like the one before, which go straight to their kernel.

All that a call has to look at takes some ten microseconds of Python, and a multiple of that where
other layers have pushed it out of the caches: more than the kernels take on a small map.
"""

from collections.abc import Callable
from operator import is_, itemgetter
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

_settings = itemgetter(
    'training', 'normalizers', '_eps', 'num_groups', 'sync', 'momentum', '_has_fbn'
)


class KnownStep(NamedTuple):
    """What a step has found out that holds for the next one, too.

    Attributes:
        shape: Shape of the map.
        dtype: Its type.
        backend: What ``get_backend`` returned.
        settings: The layer's, as ``_settings`` has them.
        tensors: The layer's parameters and buffers, None among them, in their order.
        names: The normalizers of mean and variance where both are selected, else None.
        run: Normalizes a map; returns it and the ratios (2, K).
    """

    shape: torch.Size
    dtype: torch.dtype
    backend: str
    settings: tuple[Any, ...]
    tensors: tuple[Tensor | None, ...]
    names: tuple[str, str] | None
    run: Callable[[Tensor], tuple[Tensor, Tensor]]


def known_step(layer: Any, x: Tensor) -> KnownStep | None:
    """What is known after a call of an SSN; None where the next one has to look at all again."""
    if is_traced(x) or not (_is_plain(layer) and x.is_cpu and layer.has_area):
        return None
    own, names = layer.normalizers, _selected(layer)
    if names is not None:
        mean, var = names
        if mean == var and is_faster_in_torch(mean, x):
            return None
        own = (mean,) if mean == var else names
    norm = Norm(own, layer._eps, layer.num_groups, source='logits' if names is None else 'selected')
    run = _call(layer, implementation(x, norm), norm)
    known = (x.shape, x.dtype, get_backend(), _settings(layer.__dict__), _tensors(layer))
    return KnownStep(*known, names, run)


def _call(
    layer: Any, kernel: Callable[..., tuple[Tensor, Tensor]], norm: Norm
) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """The call of a kernel with all that is the layer's."""
    parameters, buffers = layer._parameters, layer._buffers
    competing, mean, update = norm.source == 'logits', buffers['running_mean'], None
    if mean is not None and 'BN' in norm.normalizers:
        column = norm.normalizers.index('BN') if competing else None
        update = Update(mean, buffers['running_var'], layer.momentum, column)
    channels = PerChannel(parameters['weight'], parameters['bias'])
    logits = Logits(parameters['ratio_logits'], buffers['radius'] if competing else None)
    return lambda x: kernel(x, logits, norm, channels, update)


def repeat_step(layer: Any, x: Tensor) -> Tensor | None:
    """Normalizes ``x`` as the step before did; None where that one does not tell all."""
    if is_traced(x):
        return None
    known: KnownStep | None = layer.selection.step
    if (
        known is None
        or x.shape != known.shape
        or x.dtype != known.dtype
        or not x.is_cpu
        or _settings(layer.__dict__) != known.settings
        or is_recomputing()
        or get_backend() != known.backend
    ):
        return None
    tensors = _tensors(layer)
    if len(tensors) != len(known.tensors) or not all(map(is_, tensors, known.tensors)):
        return None
    logits = layer._parameters['ratio_logits']
    if not logits.is_cpu or _selected(layer) != known.names:
        return None
    batches = layer._buffers['num_batches_tracked']
    if batches is not None:
        batches.add_(1)
    y, ratios = known.run(x)
    if torch.is_grad_enabled() and logits.is_leaf:
        layer.selection.note_run(logits, None if known.names else ratios, known.names)
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


def _tensors(layer: Any) -> tuple[Tensor | None, ...]:
    return (*layer._parameters.values(), *layer._buffers.values())


def _selected(layer: Any) -> tuple[str, str] | None:
    return selected_names(layer._parameters['ratio_logits'].tolist(), layer.normalizers)
