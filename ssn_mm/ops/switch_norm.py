"""The functional switchable normalization (Eq. 1): validates once, dispatches per call."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .backends import choose_backend, is_faster_in_torch
from .backends.update import Update
from .normalizers import (
    check_groups,
    check_normalizers,
    competing,
    hand_over,
    has_area,
    world_size,
)
from .sparsestmax import sparsestmax


def switch_norm(
    x: Tensor,
    ratios: Tensor,
    normalizers: Sequence[str] = ('IN', 'LN', 'BN'),
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    *,
    training: bool = False,
    momentum: float | Tensor = 0.1,
    eps: float = 1e-5,
    num_groups: int = 32,
    sync: bool = False,
    correction: int = 0,
) -> Tensor:
    """Normalizes by ratio-weighted means and variances of several normalizers (Eq. 1).

    ``y = weight * (x - Σ_k p_k μ_k) / sqrt(Σ_k p'_k σ²_k + eps) + bias``. A normalizer left with
    one element per statistic (IN on a 1x1 map, BN on one sample of it) measures nothing: it does
    not take part, and its share goes to the others in equal parts.

    Args:
        x: (N, C, *spatial), floating. Statistics are computed in float32 or wider.
        ratios: (2, K); row 0 weighs the means, row 1 the variances.
        normalizers: K different names out of 'IN', 'LN', 'BN', 'GN', in the order of ``ratios``.
        weight: γ, (C,), or None for 1.
        bias: β, (C,), or None for 0.
        running_mean: (C,), BN's mean outside training; updated in place in training. None: BN
            always uses the batch.
        running_var: (C,), BN's unbiased variance, likewise.
        training: Whether BN uses the batch's statistics and, where it has a share in one of both
            rows, updates the running ones.
        momentum: Share of the new statistics in the running ones, as in ``nn.BatchNorm2d``.
        eps: Added to the variance.
        num_groups: GN's number of groups; divides C.
        sync: Whether BN's batch statistics span all processes of the default group.
        correction: Elements that IN's variance is short of, as in ``torch.var``: 1 is what the
            published layer has, which derives the other variances from it; computed by the
            reference backend.

    Returns:
        Tensor of ``x``'s shape and dtype, contiguous or channels last as ``x``; gradients are
        exact for ``x``, ``ratios``, ``weight`` and ``bias``, second derivatives too.

    Raises:
        TypeError: ``x`` is not a floating-point tensor.
        ValueError: Names, shapes or groups do not fit, or no normalizer has more than one
            element per statistic.
        RuntimeError: ``SSN_MM_BACKEND`` names a backend that is not available.
    """
    options = (weight, bias, running_mean, running_var, training, momentum, eps, num_groups, sync)
    return _normalize(x, ratios, None, 'ratios', normalizers, *options, correction)[0]


def sparse_switch_norm(
    x: Tensor,
    logits: Tensor,
    radius: Tensor,
    normalizers: Sequence[str] = ('IN', 'LN', 'BN'),
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    *,
    training: bool = False,
    momentum: float | Tensor = 0.1,
    eps: float = 1e-5,
    num_groups: int = 32,
    sync: bool = False,
    correction: int = 0,
) -> tuple[Tensor, Tensor]:
    """:func:`switch_norm` of ``sparsestmax(logits, radius)``, as one operator.

    Args:
        logits: (2, K).
        radius: 0-d, Euclidean distance on the simplex plane, at least 0 (not checked here).

    Other arguments, and what is raised, are :func:`switch_norm`'s.

    Returns:
        The normalized ``x``; and the ratios (2, K), detached, before any share was handed over.
    """
    options = (weight, bias, running_mean, running_var, training, momentum, eps, num_groups, sync)
    return _normalize(x, logits, radius, 'logits', normalizers, *options, correction)


def chosen_norm(
    x: Tensor,
    logits: Tensor,
    mean: str,
    var: str,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    *,
    training: bool = False,
    momentum: float | Tensor = 0.1,
    eps: float = 1e-5,
    num_groups: int = 32,
    sync: bool = False,
) -> Tensor:
    """:func:`switch_norm` with one-hot ratios, given by name: computes what these need only.

    Args:
        logits: (2, K), not looked at. They stay in the graph and get a gradient of 0, since DDP
            waits for one of every parameter.
        mean: Normalizer of the mean.
        var: Normalizer of the variance. Where it is the same and torch's own layer is faster
            than the backend, that layer is called.

    Other arguments, and what is raised, are :func:`switch_norm`'s; every name fits the shape, see
    :func:`competing`. Running statistics are updated only if BN is one of the two.
    """
    sync = _spans_processes(sync, (mean, var), training or running_mean is None)
    options = (weight, bias, running_mean, running_var, training, momentum, eps, num_groups, sync)
    if mean != var:
        return _normalize(x, logits, None, 'chosen', (mean, var), *options)[0]
    if (
        not sync
        and isinstance(momentum, float)
        and _fits_torch(mean, x, weight, running_mean)
        and not _may_be_misread(x)
        and is_faster_in_torch(mean, x)
    ):
        if weight is None:
            x = _KeepInGraph.apply(x, logits)
        else:
            weight = _KeepInGraph.apply(weight, logits)
        if mean == 'BN':
            batch_stats = training or running_mean is None
            stats = (running_mean, running_var, weight, bias, batch_stats, momentum, eps)
            return torch.nn.functional.batch_norm(x, *stats)
        groups = {'IN': x.size(1), 'LN': 1, 'GN': num_groups}[mean]
        return torch.nn.functional.group_norm(x, groups, weight, bias, eps)
    return _normalize(x, logits, None, 'chosen', (mean,), *options)[0]


def _fits_torch(name: str, x: Tensor, weight: Tensor | None, running_mean: Tensor | None) -> bool:
    """Whether torch's layer takes these dtypes and computes half maps in float32.

    On a CPU it does not, where a gradient is laid out otherwise than the map.
    """
    given = {t.dtype for t in (weight, running_mean) if t is not None}
    if x.dtype.itemsize == 2:
        return x.is_cuda and name == 'BN' and weight is not None and given == {torch.float32}
    return given <= {x.dtype}


def _may_be_misread(x: Tensor) -> bool:
    """Whether torch's batch norm reads some tensors of this shape in a wrong order.

    A sample of one row, (1, C, 1, W), is contiguous in channels last whatever strides its sides of
    1 have; with some of them, in the map or in its gradient, PyTorch 2.x takes the other order.
    """
    return x.dim() > 3 and x.size(0) == 1 and all(side == 1 for side in x.shape[2:-1])


class _KeepInGraph(torch.autograd.Function):
    """A tensor as it is, and a gradient of 0 for logits."""

    @staticmethod
    def forward(ctx, t, logits):
        ctx.save_for_backward(logits)
        return t.view_as(t)

    @staticmethod
    def backward(ctx, g):
        (logits,) = ctx.saved_tensors
        return g, torch.zeros_like(logits)


def _normalize(
    x: Tensor,
    logits: Tensor,
    radius: Tensor | None,
    source: str,
    normalizers: Sequence[str],
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float | Tensor,
    eps: float,
    num_groups: int,
    sync: bool,
    correction: int = 0,
) -> tuple[Tensor, Tensor]:
    check_normalizers(normalizers, at_least=1)
    _check_tensors(x, logits, weight, bias, running_mean, running_var)
    if source != 'chosen' and tuple(logits.shape) != (2, len(normalizers)):
        raise ValueError(
            f'ratios must be (2, {len(normalizers)}) for {len(normalizers)} normalizers, '
            f'got {tuple(logits.shape)}'
        )
    if 'GN' in normalizers:
        check_groups(x.size(1), num_groups)
    batch_stats = training or running_mean is None
    sync = _spans_processes(sync, normalizers, batch_stats)
    ratios = None
    fit = () if has_area(x) else competing(normalizers, x.shape, batch_stats, num_groups, sync)
    if not all(fit):
        ratios = logits if radius is None else sparsestmax(logits, radius)
        radius, source = None, 'ratios'
        logits, normalizers = hand_over(ratios, normalizers, fit)
    update = None
    if training and running_mean is not None and running_var is not None and 'BN' in normalizers:
        column = None if source == 'chosen' else normalizers.index('BN')
        update = Update(running_mean, running_var, momentum, column)
    if batch_stats:
        running_mean = running_var = None
    given = (x, logits, weight, bias, radius, running_mean, running_var, source, normalizers)
    backend = choose_backend(x, sync, correction)
    y, used = backend(*given, eps, num_groups, sync, update)
    return y, used if ratios is None else ratios.detach()


def _spans_processes(sync: bool, normalizers: Sequence[str], batch_stats: bool) -> bool:
    """Whether processes talk: all of them or none, whatever the shape of their batches."""
    return sync and batch_stats and 'BN' in normalizers and world_size() > 1


def _check_tensors(x: Tensor, logits: Tensor, *per_channel: Tensor | None) -> None:
    if not x.is_floating_point():
        raise TypeError(f'the input must be a floating-point tensor, got {x.dtype}')
    if x.dim() < 2:
        raise ValueError(f'the input must be (N, C, *spatial), got shape {tuple(x.shape)}')
    if (per_channel[2] is None) != (per_channel[3] is None):
        raise ValueError('give both running_mean and running_var, or neither')
    channels, device = x.shape[1:2], x.device
    if logits.device != device:
        raise _other_device('logits', logits, x)
    for i, tensor in enumerate(per_channel):
        if tensor is not None and tensor.shape != channels:
            name, c = ('weight', 'bias', 'running_mean', 'running_var')[i], x.size(1)
            raise ValueError(
                f'{name} must be ({c},) for an input of {c} channels, got {tuple(tensor.shape)}'
            )
        if tensor is not None and tensor.device != device:
            raise _other_device(('weight', 'bias', 'running_mean', 'running_var')[i], tensor, x)


def _other_device(name: str, tensor: Tensor, x: Tensor) -> RuntimeError:
    return RuntimeError(
        f'expected all tensors on one device, but the input is on {x.device} and {name} on '
        f'{tensor.device}; move the layer with .to(x.device)'
    )
