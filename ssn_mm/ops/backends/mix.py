"""Mixing: from instance moments and ratios (Eq. 1) to the factors of the map, and back.

Numbers here are (N, C) or fewer. M and V are the mixed mean and variance, R = 1/sqrt(V + eps);
T = Σdy and E = Σdy·(x - M) come from the map. G_M = -γRT and G_V = -½γR³E are the gradients for M
and V; m_k and v_k are the moments of normalizer k, A_k the average over what it measures together:

    dp_k = Σ G_M·m_k,  dp'_k = Σ G_V·v_k,  dγ = Σ_n R·E,  dβ = Σ_n T
    dvar = Σ_k p'_k A_k G_V,  dmean = Σ_k p_k A_k G_M + 2 p'_k (mean - m_k) A_k G_V
    dx = γR·dy + slope·(x - mean) + offset, slope = 2 dvar / area, offset = dmean / area

dx is written about the instance's own mean, since about M it would cancel where M is far from it.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ..moments import (
    Moments,
    batch_moments,
    exchange_moments,
    group_moments,
    layer_moments,
    sum_processes,
)
from ..norm import Logits, Norm, PerChannel
from ..normalizers import no_case
from ..projection import jacobian_product, solve


class Mixed(NamedTuple):
    """What mixing hands to the passes over the map and to its own backward pass.

    Attributes:
        ratios: Importance ratios, (2, K).
        stretch: The stretch of SparsestMax, (2,), see ``projection.solve``; 1 without SparsestMax.
        bend: The bend of SparsestMax, (2,); 0 without it.
        shift: The mixed mean M, (N, C).
        rstd: R, (N, C).
        scale: γR, (N, C).
        batch: BN's mean and biased variance, (2, C); (2, 0) without BN.
    """

    ratios: Tensor
    stretch: Tensor
    bend: Tensor
    shift: Tensor
    rstd: Tensor
    scale: Tensor
    batch: Tensor


def mix(
    mean: Tensor,
    var: Tensor,
    logits: Logits,
    norm: Norm,
    channels: PerChannel,
    joint: Tensor | None = None,
) -> Mixed:
    """Mixes instance moments.

    Every tensor is float32, or every one is float64.

    Args:
        mean: Means of the instances, (N, C).
        var: Biased variances of the instances, (N, C).
        logits: What the ratios are made of.
        norm: The description of the normalization.
        channels: γ, and the running statistics that FBN reads.
        joint: BN's mean and biased variance over all processes, (2, C), which it uses in place of
            those of ``mean`` and ``var``; None where it does not span processes.
    """
    normalizers, values = norm.normalizers, logits.values
    if norm.source == 'selected':
        k = len(normalizers)
        first = torch.eye(2, k, dtype=mean.dtype, device=mean.device)
        values = first if k > 1 else torch.ones_like(first)
    ratios, stretch, bend = values.clone(), values.new_ones(2), values.new_zeros(2)
    if logits.radius is not None:
        ratios, stretch, bend = solve(logits.values, logits.radius)
        stretch, bend = stretch.squeeze(-1), bend.squeeze(-1)
    batch = mean.new_empty(2, 0) if joint is None else joint
    if joint is None and 'BN' in normalizers:
        batch = torch.cat(batch_moments(mean, var))
    merged = [_merge(name, mean, var, batch, channels, norm.num_groups) for name in normalizers]
    shift, mixed_var = mean.new_zeros(()), mean.new_full((), norm.eps)
    for (m, v), p, p_var in zip(merged, *(row.unbind() for row in ratios.unbind()), strict=True):
        shift = torch.addcmul(shift, m, p)
        mixed_var = mixed_var + v * p_var
    rstd = mixed_var.rsqrt().expand_as(mean).contiguous()
    shift = shift.expand_as(mean).contiguous()
    scale = rstd.clone() if channels.weight is None else rstd * channels.weight
    return Mixed(ratios, stretch, bend, shift, rstd, scale, batch)


def mix_backward(
    mixed: Mixed,
    moments: Moments,
    sums: tuple[Tensor, Tensor],
    logits: Tensor,
    norm: Norm,
    channels: PerChannel,
    area: int,
    share: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor, Tensor]:
    """The backward pass of :func:`mix` and of the affine map, less what touches the map.

    Args:
        mixed: What :func:`mix` returned.
        moments: Means and biased variances of the instances, (N, C).
        sums: T and E, (N, C).
        logits: (2, K), as in :func:`mix`.
        norm: The description of the normalization.
        channels: γ, and the running statistics that FBN read.
        area: Elements of an instance.
        share: This process' fraction of BN's elements, (1,), where these span all processes, which
            then add up what BN needs; else None.

    Returns:
        slope and offset, (N, C); and the gradients for logits (2, K), None where their values do
        not count, for γ (C,) and for β (C,).
    """
    mean, var = moments
    total, dot = sums
    is_selected = norm.source == 'selected'
    gamma_rstd, rstd = mixed.scale, mixed.rstd
    to_mean = -(gamma_rstd * total)
    to_var = -0.5 * gamma_rstd * rstd * rstd * dot
    dvar, dmean = torch.zeros_like(mean), torch.zeros_like(mean)
    dratios = []
    for name, p, p_var in zip(
        norm.normalizers, *(row.unbind() for row in mixed.ratios.unbind()), strict=True
    ):
        m, v = _merge(name, mean, var, mixed.batch, channels, norm.num_groups)
        if not is_selected:
            dratios += [(to_mean * m).sum(), (to_var * v).sum()]
        if name == 'IN':
            dmean, dvar = torch.addcmul(dmean, to_mean, p), torch.addcmul(dvar, to_var, p_var)
        elif name != 'FBN':
            grad_mean, grad_var = _average(name, to_mean, to_var, norm.num_groups)
            grad_mean, grad_var = grad_mean * p, grad_var * p_var
            if name == 'BN' and share is not None:
                both = sum_processes(torch.cat([grad_mean, grad_var]) * len(mean))
                grad_mean, grad_var = (both * (share / len(mean))).split(1)
            dmean = torch.addcmul(dmean + grad_mean, mean - m, grad_var, value=2)
            dvar = dvar + grad_var
    dlogits = None
    if not is_selected:
        dlogits = torch.stack(dratios).view(-1, 2).t().contiguous()
        if norm.source == 'logits':
            bent = (mixed.ratios, mixed.stretch[:, None], mixed.bend[:, None])
            dlogits = jacobian_product(dlogits, logits, *bent)
    return dvar * (2 / area), dmean / area, dlogits, (rstd * dot).sum(0), total.sum(0)


def joint_moments(mean: Tensor, var: Tensor, elements: int) -> tuple[Tensor, Tensor]:
    """BN's moments over all processes.

    Args:
        mean: Instance means of this process, (N, C).
        var: Biased instance variances of this process, (N, C).
        elements: Elements per channel of this process.

    Returns:
        BN's mean and biased variance, (2, C), and this process' fraction of the elements, (1,).
    """
    batch, total = exchange_moments(*batch_moments(mean, var), elements)
    return batch, elements / total


def _merge(
    name: str, mean: Tensor, var: Tensor, batch: Tensor, channels: PerChannel, num_groups: int
) -> Moments:
    """A normalizer's moments, broadcastable to (N, C), from instance moments (N, C) and BN's."""
    if name == 'IN':
        return mean, var
    if name == 'LN':
        return layer_moments(mean, var)
    if name == 'GN':
        return group_moments(mean, var, num_groups)
    if name == 'BN':
        return batch[:1], batch[1:]
    if name == 'FBN' and channels.running_mean is not None and channels.running_var is not None:
        return channels.running_mean[None], channels.running_var[None]
    raise no_case(name, 'mix._merge')


def _average(name: str, to_mean: Tensor, to_var: Tensor, num_groups: int) -> Moments:
    """A_k of the gradients for M and V, (N, C): averages broadcastable to (N, C)."""
    both = torch.stack([to_mean, to_var])  # (2, N, C)
    if name == 'LN':
        both = both.mean(2, keepdim=True)
    elif name == 'GN':
        grouped = both.unflatten(2, (num_groups, -1))
        both = grouped.mean(3, keepdim=True).expand_as(grouped).flatten(2)
    elif name == 'BN':
        both = both.mean(1, keepdim=True)
    else:
        raise no_case(name, 'mix._average')
    mean, var = both.unbind()
    return mean, var
