"""The oracle: Eq. 1 as plain autograd, for any device and dtype."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..moments import (
    Moments,
    batch_moments,
    group_moments,
    instance_moments,
    layer_moments,
    sync_moments,
)
from ..sparsestmax import sparsestmax
from .update import Update, update_running


def switch_norm(
    x: Tensor,
    logits: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    radius: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    source: str,
    normalizers: Sequence[str],
    eps: float,
    num_groups: int,
    sync: bool,
    update: Update | None,
    correction: int = 0,
) -> tuple[Tensor, Tensor]:
    """Normalizes ``x`` (N, C, *spatial).

    Arguments are those of :func:`ssn_mm.ops.sparse_switch_norm`, already checked, without the
    normalizers that do not fit the shape. ``source`` says what ``logits`` are: 'logits' of
    SparsestMax, the 'ratios' themselves, or of a layer that has 'chosen': then ``normalizers`` are
    the one of mean and variance, or first that of the mean, and logits get a gradient of 0. BN
    uses ``running_mean`` and ``running_var`` (C,) where given, else the batch, for ``update``.

    Returns:
        ``y`` like ``x``, and the ratios, detached.
    """
    ratios = logits
    if source == 'logits' and radius is not None:
        ratios = sparsestmax(logits, radius)
    elif source == 'chosen':
        k = len(normalizers)
        ratios = torch.eye(k, device=x.device).expand(2, k) + 0 * logits[:, :k]
    wide = x.to(torch.promote_types(x.dtype, torch.float32))  # once: its gradient is rounded once
    mean, var = instance_moments(wide, correction)
    count = x.numel() // x.size(1)
    (mean, var), batch = _mix_moments(
        mean, var, count, ratios, normalizers, running_mean, running_var, num_groups, sync
    )
    to_map = (slice(None), slice(None)) + (None,) * (x.dim() - 2)  # (., C) -> (., C, 1, ...)
    y = (wide - mean[to_map]) * torch.rsqrt(var + eps)[to_map]
    if weight is not None:
        y = y * weight.to(y)[None][to_map]
    if bias is not None:
        y = y + bias.to(y)[None][to_map]
    if update is not None and batch is not None:
        update_running(update, ratios, *batch)
    return y.to(x.dtype), ratios.detach()


def _mix_moments(
    mean: Tensor,
    var: Tensor,
    count: int,
    ratios: Tensor,
    normalizers: Sequence[str],
    running_mean: Tensor | None,
    running_var: Tensor | None,
    num_groups: int,
    sync: bool,
) -> tuple[Moments, tuple[Tensor, Tensor, int | Tensor] | None]:
    """Σ p_k μ_k and Σ p'_k σ²_k of Eq. 1 from instance moments (N, C); differentiable.

    Returns:
        The mixed moments, broadcastable to (N, C); and where BN measured the batch its mean and
        biased variance, (C,), and elements per channel.
    """
    batch: tuple[Tensor, Tensor, int | Tensor] | None = None
    moments: list[Moments] = []
    for name in normalizers:
        if name == 'IN':
            moments.append((mean, var))
        elif name == 'LN':
            moments.append(layer_moments(mean, var))
        elif name == 'GN':
            moments.append(group_moments(mean, var, num_groups))
        elif running_mean is not None and running_var is not None:
            moments.append((running_mean.to(mean)[None], running_var.to(var)[None]))
        else:
            total: int | Tensor = count
            if sync and not count:  # the other processes wait for this one, too
                m, v = mean.sum(0, keepdim=True), var.sum(0, keepdim=True)
            else:
                m, v = batch_moments(mean, var)
            if sync:
                m, v, total = sync_moments(m, v, count)
            moments.append((m, v))
            batch = (m.detach()[0], v.detach()[0], total)
    p = ratios.to(mean)
    mixed_mean = sum((p[0, k] * m for k, (m, _) in enumerate(moments)), mean.new_zeros(()))
    mixed_var = sum((p[1, k] * v for k, (_, v) in enumerate(moments)), var.new_zeros(()))
    return (mixed_mean, mixed_var), batch
