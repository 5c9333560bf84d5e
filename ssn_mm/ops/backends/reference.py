"""The reference: Eq. 1 as plain autograd, for any device and dtype."""

import math

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
from ..norm import Logits, Norm, PerChannel
from ..normalizers import no_case
from ..running_stats import Update, update_running
from ..sparsestmax import sparsestmax


def switch_norm(
    x: Tensor,
    logits: Logits,
    norm: Norm,
    channels: PerChannel,
    update: Update | None,
) -> tuple[Tensor, Tensor]:
    """Normalizes a map by arguments that have been checked.

    Args:
        x: The map, (N, C, *spatial).
        logits: What the ratios are made of. Where a selection is given by name they get a gradient
            of 0.
        norm: The description, without the normalizers that do not fit the shape.
        channels: γ and β; and the running statistics that FBN reads.
        update: Running statistics to update with the batch's; None for none.

    Returns:
        ``y`` like ``x``, and the ratios (2, K), detached.
    """
    ratios = logits.values
    if logits.radius is not None:
        ratios = sparsestmax(logits.values, logits.radius)
    elif norm.source == 'selected':
        k = len(norm.normalizers)
        ratios = torch.eye(k, device=x.device).expand(2, k) + 0 * ratios[:, :k]
    wide = x.to(torch.promote_types(x.dtype, torch.float32))  # so its gradient is rounded once
    mean, var = instance_moments(wide)
    if norm.correction and (area := math.prod(x.shape[2:])) > 1:
        var = var * (area / (area - 1))
    count = x.numel() // x.size(1)
    (mean, var), batch = mix_moments((mean, var), count, ratios, norm, channels)
    to_map = (slice(None), slice(None)) + (None,) * (x.dim() - 2)  # (., C) -> (., C, 1, ...)
    y = (wide - mean[to_map]) * torch.rsqrt(var + norm.eps)[to_map]
    if channels.weight is not None:
        y = y * channels.weight.to(y)[None][to_map]
    if channels.bias is not None:
        y = y + channels.bias.to(y)[None][to_map]
    if update is not None and batch is not None:
        update_running(update, ratios, *batch)
    return y.to(x.dtype), ratios.detach()


def mix_moments(
    instance: Moments, count: int, ratios: Tensor, norm: Norm, channels: PerChannel
) -> tuple[Moments, tuple[Tensor, Tensor, int | Tensor] | None]:
    """Σ p_k μ_k and Σ p'_k σ²_k of Eq. 1 from instance moments (N, C); differentiable.

    Args:
        instance: Mean and variance of each channel of each sample, (N, C).
        count: Elements per channel, of all samples.
        ratios: (2, K).
        norm: The description, without the normalizers that do not fit the shape.
        channels: γ and β, which are not read; and the running statistics that FBN reads.

    Returns:
        The mixed moments, broadcastable to (N, C); and where BN measured the batch its mean and
        biased variance, (C,), and elements per channel.
    """
    mean, var = instance
    batch: tuple[Tensor, Tensor, int | Tensor] | None = None
    moments: list[Moments] = []
    for name in norm.normalizers:
        if name == 'IN':
            moments.append((mean, var))
        elif name == 'LN':
            moments.append(layer_moments(mean, var))
        elif name == 'GN':
            moments.append(group_moments(mean, var, norm.num_groups))
        elif name == 'FBN' and channels.running_mean is not None:
            assert channels.running_var is not None
            moments.append(
                (channels.running_mean.to(mean)[None], channels.running_var.to(var)[None])
            )
        elif name != 'BN':
            raise no_case(name, 'the reference')
        else:
            total: int | Tensor = count
            if norm.sync and not count:  # the other processes wait for this one, too
                m, v = mean.sum(0, keepdim=True), var.sum(0, keepdim=True)
            else:
                m, v = batch_moments(mean, var)
            if norm.sync:
                m, v, total = sync_moments(m, v, count)
            moments.append((m, v))
            batch = (m.detach()[0], v.detach()[0], total)
    p = ratios.to(mean)
    mixed_mean = sum((p[0, k] * m for k, (m, _) in enumerate(moments)), mean.new_zeros(()))
    mixed_var = sum((p[1, k] * v for k, (_, v) in enumerate(moments)), var.new_zeros(()))
    return (mixed_mean, mixed_var), batch
