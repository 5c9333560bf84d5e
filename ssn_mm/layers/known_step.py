"""Training steps on a CPU like the one before, which go straight to their kernel.

Between two layers a network moves its maps through all caches, so that the next layer finds neither
code nor data there, and each line of Python takes microseconds. All that a call has to look at then
takes longer than the kernels on a small map.
"""

from collections.abc import Callable
from operator import is_, itemgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..ops.dispatch import get_backend, kernels_for_all
from ..ops.norm import Logits, Norm, PerChannel
from ..ops.running_stats import Update
from ..ops.selected_norm import is_faster_in_torch
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
    if is_traced(x) or not (_is_plain(layer) and layer.has_area):
        return None
    kernels = kernels_for_all(x)
    if kernels is None or kernels.layer_call is None:
        return None
    own, names = layer.normalizers, _selected(layer)
    if names is not None:
        mean, var = names
        if mean == var and is_faster_in_torch(mean, x):
            return None
        own = (mean,) if mean == var else names
    params, buffers = layer._parameters, layer._buffers
    norm = Norm(own, layer._eps, layer.num_groups, source='logits' if names is None else 'selected')
    logits = Logits(params['ratio_logits'], buffers['radius'] if names is None else None)
    update, mean = None, buffers['running_mean']
    if mean is not None and 'BN' in own:
        column = own.index('BN') if names is None else None
        update = Update(mean, buffers['running_var'], layer.momentum, column)
    channels = PerChannel(params['weight'], params['bias'])
    run = kernels.layer_call(logits, norm, channels, update, buffers['num_batches_tracked'])
    settings, tensors = _settings(layer.__dict__), (*params.values(), *buffers.values())
    return KnownStep(x.shape, x.dtype, get_backend(), settings, tensors, names, run)


def repeat_step(layer: Any, x: Tensor) -> Tensor | None:
    """Normalizes ``x`` as the step before did; None where that one does not tell all.

    It finds what a layer has in its dictionaries, without ``nn.Module.__getattr__``.
    """
    if is_traced(x):
        return None
    has = layer.__dict__
    selection = has['selection']
    known: KnownStep | None = selection.step
    if known is None:
        return None
    shape, dtype, backend, settings, tensors, names, run = known
    if (
        x.shape != shape
        or x.dtype != dtype
        or not x.is_cpu
        or _settings(has) != settings
        or is_recomputing()
        or get_backend() != backend
    ):
        return None
    params = has['_parameters']
    now = (*params.values(), *has['_buffers'].values())
    if len(now) != len(tensors) or not all(map(is_, now, tensors)):
        return None
    logits = params['ratio_logits']
    # what competes may be selected by now: its ratios say so, too
    if not logits.is_cpu or (names and _selected(layer) != names):
        return None
    y, ratios = run(x)
    if torch.is_grad_enabled():
        selection.note_run(logits, None if names else ratios, names)
    return y


def _is_plain(layer: Any) -> bool:
    """Whether a layer is in the state that steps are known for; others look at more."""
    logits = layer._parameters.get('ratio_logits')
    return (
        layer.training
        and type(logits) is nn.Parameter
        and logits.is_cpu
        and logits.is_leaf
        and not (layer._has_fbn or layer.sync or layer.correction)
        and type(layer.momentum) is float
        and {'weight', 'bias'} <= layer._parameters.keys()
        and {'running_mean', 'running_var', 'num_batches_tracked', 'radius'}
        <= layer._buffers.keys()
    )


def _selected(layer: Any) -> tuple[str, str] | None:
    return selected_names(layer._parameters['ratio_logits'].tolist(), layer.normalizers)
