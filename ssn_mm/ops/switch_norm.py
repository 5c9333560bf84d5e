"""The functional switchable normalization (Eq. 1): validates once, dispatches per call."""

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor

from .backends import fused, reference
from .dispatch import get_backend, is_kernels_best, load_kernels
from .norm import Logits, Norm, PerChannel
from .normalizers import (
    check_groups,
    check_normalizers,
    competing,
    hand_over,
    has_area,
    world_size,
)
from .running_stats import Update
from .sparsestmax import sparsestmax
from .tracing import is_traced, is_transformed


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
) -> Tensor:
    """Normalizes by ratio-weighted means and variances of several normalizers (Eq. 1).

    ``y = weight * (x - Σ_k p_k μ_k) / sqrt(Σ_k p'_k σ²_k + eps) + bias``. A normalizer left with
    one element per statistic (IN on a 1x1 map, BN on one sample of it) measures nothing: it does
    not take part, and its ratio goes to the others in equal parts.

    Args:
        x: (N, C, *spatial), floating. Statistics are computed in float32 or wider.
        ratios: Importance ratios, (2, K); row 0 for the means, row 1 for the variances.
        normalizers: K different names out of 'IN', 'LN', 'BN', 'GN', 'FBN', in the order of
            ``ratios``. FBN is batch norm by the running statistics, as constants, in training too.
        weight: γ, (C,), or None for 1.
        bias: β, (C,), or None for 0.
        running_mean: Running mean, (C,), which FBN uses, and BN outside training; in training BN
            updates it in place unless FBN has a ratio above 0 for the mean. None: BN always uses
            the batch.
        running_var: Running variance, (C,), unbiased, used and updated as the mean is, by the
            ratios for the variance.
        training: Whether BN uses the batch's statistics and, unless its ratios are 0, updates the
            running ones.
        momentum: Weight of the batch in the running statistics, as in ``nn.BatchNorm2d``.
        eps: ε, added to the mixed variance.
        num_groups: GN's number of groups; divides C.
        sync: Whether BN's batch statistics span all processes of the default group.

    Returns:
        Tensor of ``x``'s shape and dtype, contiguous or channels last as ``x``; gradients are
        exact for ``x``, ``ratios``, ``weight`` and ``bias``, second derivatives too.

    Raises:
        TypeError: ``x`` is not a floating-point tensor.
        ValueError: Names, shapes or groups do not fit, no normalizer has more than one element
            per statistic, or FBN has no running statistics.
        RuntimeError: ``SSN_MM_BACKEND`` names a backend that is not available.
    """
    # normalize refuses a string, which a tuple would take apart
    names = normalizers if isinstance(normalizers, str) else tuple(normalizers)
    norm = Norm(names, eps, num_groups, sync)  # type: ignore[arg-type]
    channels = PerChannel(weight, bias, running_mean, running_var)
    return normalize(x, Logits(ratios), norm, channels, training, momentum)[0]


def normalize(
    x: Tensor,
    logits: Logits,
    norm: Norm,
    channels: PerChannel,
    training: bool = False,
    momentum: float | Tensor = 0.1,
    updates: bool = True,
) -> tuple[Tensor, Tensor]:
    """Normalizes by a :class:`Norm`, from logits or ratios, as one operator.

    It checks what is given, leaves out normalizers that do not fit the shape, and calls a backend.

    Args:
        x: (N, C, *spatial), floating.
        logits: What the ratios are made of; that the radius is at least 0 is not checked here.
        norm: The description of the normalization.
        channels: γ, β and the running statistics of BN and FBN, (C,).
        training: Whether BN uses the batch's statistics and, unless its ratios are 0, updates the
            running ones.
        momentum: Weight of the batch in the running statistics, as in ``nn.BatchNorm2d``.
        updates: Whether training updates them at all; a step that is computed again does not.

    Returns:
        The normalized ``x``; and the ratios (2, K), detached, before any was handed over.
    """
    normalizers = norm.normalizers
    check_normalizers(normalizers, at_least=1)
    values = logits.values
    _check_tensors(x, values, channels)
    if norm.source != 'selected' and tuple(values.shape) != (2, len(normalizers)):
        raise ValueError(
            f'ratios must be (2, {len(normalizers)}) for {len(normalizers)} normalizers, '
            f'got {tuple(values.shape)}'
        )
    if 'GN' in normalizers:
        check_groups(x.size(1), norm.num_groups)
    check_constants(normalizers, channels)
    mean, var = channels.running_mean, channels.running_var
    batch_stats = training or mean is None
    sync = spans_processes(norm.sync, normalizers, batch_stats)
    if sync != norm.sync:
        # Dynamo of PyTorch 2.6 follows neither _replace nor slices
        norm = Norm(normalizers, norm.eps, norm.num_groups, sync, norm.correction, norm.source)
    ratios = None
    fit = () if has_area(x) else competing(normalizers, x.shape, batch_stats, norm.num_groups, sync)
    if not all(fit):
        ratios = values if logits.radius is None else sparsestmax(logits.values, logits.radius)
        values, normalizers = hand_over(ratios, normalizers, fit)
        logits = Logits(values)
        norm = Norm(normalizers, norm.eps, norm.num_groups, sync, norm.correction, 'ratios')
    if not batch_stats and 'BN' in normalizers:
        normalizers = tuple(['FBN' if name == 'BN' else name for name in normalizers])
        norm = Norm(normalizers, norm.eps, norm.num_groups, sync, norm.correction, norm.source)
    update, has_constants = None, 'FBN' in normalizers
    if updates and mean is not None and var is not None and 'BN' in normalizers:  # in training
        column = None if norm.source == 'selected' else normalizers.index('BN')
        fixed = normalizers.index('FBN') if has_constants else None
        update = Update(mean, var, momentum, column, fixed)
        if has_constants:  # the backward pass needs those of before the update
            mean, var = mean.clone(), var.clone()
    if has_constants:
        channels = PerChannel(channels.weight, channels.bias, mean, var)
    else:
        channels = PerChannel(channels.weight, channels.bias)
    y, used = implementation(x, norm)(x, logits, norm, channels, update)
    return y, used if ratios is None else ratios.detach()


def implementation(x: Tensor, norm: Norm) -> Callable[..., tuple[Tensor, Tensor]]:
    """What computes a call: the backend that is named, else the best for ``x``.

    Raises:
        RuntimeError: The named backend is not there, or not for this tensor.
    """
    name = get_backend()
    if norm.correction:  # no kernel has it
        return reference.switch_norm
    traced = is_traced(x)
    if traced and is_transformed():
        return reference.switch_norm
    if name == 'reference' or not (name or is_kernels_best(x, traced)):
        return reference.switch_norm
    if not (norm.sync or traced):
        own = load_kernels(name, x).switch_norm
        if own is not None:
            return own
    return partial(fused.switch_norm, kernels=name)


def spans_processes(sync: bool, normalizers: Sequence[str], batch_stats: bool) -> bool:
    """Whether processes exchange statistics; all or none do, whatever shape their batches have."""
    return sync and batch_stats and 'BN' in normalizers and world_size() > 1


def check_constants(normalizers: Sequence[str], channels: PerChannel) -> None:
    """Raises ValueError if FBN is among the normalizers and there are no running statistics."""
    if channels.running_mean is None and 'FBN' in normalizers:
        raise ValueError(
            f'FBN, one of {tuple(normalizers)}, normalizes by running statistics, and there are '
            'none; give running_mean and running_var, or use BN'
        )


def _check_tensors(x: Tensor, logits: Tensor, channels: PerChannel) -> None:
    if not x.is_floating_point():
        raise TypeError(f'the input must be a floating-point tensor, got {x.dtype}')
    if x.dim() < 2:
        raise ValueError(f'the input must be (N, C, *spatial), got shape {tuple(x.shape)}')
    if (channels.running_mean is None) != (channels.running_var is None):
        raise ValueError('give both running_mean and running_var, or neither')
    expected, device = x.shape[1:2], x.device
    if logits.device != device:
        raise _other_device('logits', logits, x)
    for i, tensor in enumerate(channels):
        if tensor is not None and tensor.shape != expected:
            name, c = PerChannel._fields[i], x.size(1)
            raise ValueError(
                f'{name} must be ({c},) for an input of {c} channels, got {tuple(tensor.shape)}'
            )
        if tensor is not None and tensor.device != device:
            raise _other_device(PerChannel._fields[i], tensor, x)


def _other_device(name: str, tensor: Tensor, x: Tensor) -> RuntimeError:
    return RuntimeError(
        f'expected all tensors on one device, but the input is on {x.device} and {name} on '
        f'{tensor.device}; move the layer with .to(x.device)'
    )
