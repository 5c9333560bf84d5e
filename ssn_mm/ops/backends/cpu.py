"""Passes over the map that need no compiler, put together from ATen's own kernels.

They run on a GPU, too, as plain operators: where they are named, and where a recorded program finds
no Triton.

Group normalization with a group per (n, c) measures a contiguous map in one fused pass, and its
backward pass yields Σdy and Σdy·(x - M). Batch normalization in evaluation is a fused affine map.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from .record import FLOATS, Backend

_EPS = 1e-12  # group normalization needs one; Eq. 1's is added to the mixed variance


def is_faster_in_torch(name: str, x: Tensor) -> bool:
    """Whether torch's own layer beats these passes where ``name`` alone is computed.

    It always does, but its group norm takes the variance of channels last as E[x²] - E[x]², which
    has no digits left where the mean is large.
    """
    return name in ('BN', 'FBN') or x.is_contiguous()


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance, (N, C), of a map (N, C, *spatial), contiguous or channels last."""
    x = _widen(x)
    n, c = x.shape[:2]
    if x.dim() == 2:
        return x.clone(), torch.zeros_like(x)  # an operator returns no alias of its input
    if not _is_fused(x):  # group normalization takes E[x²] - E[x]² here, which cancels
        spatial = tuple(range(2, x.dim()))
        mean = x.mean(spatial)
        return mean, (x - _on_map(mean, x)).square_().mean(spatial)
    _, mean, rstd = torch.ops.aten.native_group_norm(
        x.view(1, n * c, -1), None, None, 1, n * c, x[0, 0].numel(), n * c, _EPS
    )
    var = (rstd.square().reciprocal() - _EPS).clamp(min=0)
    return _shape(mean, (n, c)), _shape(var, (n, c))


def affine(x: Tensor, shift: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    """scale * (x - shift) + bias with (N, C) shift and scale, (C,) bias; a new map like ``x``."""
    offset = torch.zeros_like(shift) if bias is None else bias.expand_as(shift)
    return _scale(_widen(x), shift, scale, offset).to(x.dtype)


def sums(dy: Tensor, x: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Σdy and Σdy·(x - shift) over each instance, (N, C)."""
    dy, x = _widen(dy), _widen(x)
    n, c = x.shape[:2]
    if x.dim() == 2:
        return dy.contiguous(), dy * (x - shift)
    if not _is_fused(x):
        spatial = tuple(range(2, x.dim()))
        return dy.sum(spatial), ((x - _on_map(shift, x)).mul_(dy)).sum(spatial)
    area, flat, ones = x[0, 0].numel(), (1, n * c, -1), torch.ones_like(shift).view(1, -1)
    _, dot, total = torch.ops.aten.native_group_norm_backward(
        dy.view(flat),
        x.view(flat),
        shift.view(1, -1),
        ones,  # rstd
        ones.view(-1),  # the op leaves the sums out without a weight
        1,
        n * c,
        area,
        n * c,
        [False, True, True],
    )
    return _shape(total, (n, c)), _shape(dot, (n, c))


def affine_grad(
    dy: Tensor, x: Tensor, shift: Tensor, scale: Tensor, slope: Tensor, offset: Tensor
) -> Tensor:
    """scale * dy + slope * (x - shift) + offset, factors (N, C); a new map like ``x``."""
    # _scale would take offset - shift * slope first, which cancels where the slope is large
    wide = _widen(x)
    dx = (wide - _on_map(shift, x)).mul_(_on_map(slope, x)).add_(_on_map(offset, x))
    return dx.addcmul_(_widen(dy), _on_map(scale, x)).to(x.dtype)


def _scale(x: Tensor, shift: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    if x.dim() == 2 or not _is_fused(x):
        constant = _on_map(torch.addcmul(offset, shift, scale, value=-1), x)
        return torch.addcmul(constant, x, _on_map(scale, x), out=torch.empty_like(x))
    y, _, _ = torch.ops.aten.native_batch_norm(
        x.view(1, shift.numel(), -1),
        scale.reshape(-1),
        offset.reshape(-1),
        shift.reshape(-1),
        torch.ones_like(shift).view(-1),
        False,
        0.0,
        0.0,
    )
    return _shape(y, x.shape)


def _is_fused(x: Tensor) -> bool:
    return x.is_cpu and x.is_contiguous()


def _on_map(t: Tensor, x: Tensor) -> Tensor:
    return t.view(*t.shape, *(1 for _ in x.shape[2:]))


def _shape(t: Tensor, shape: Sequence[int]) -> Tensor:
    # an operator returns no view, since an in-place activation may follow
    return torch.ops.aten._unsafe_view(t, shape)


def _widen(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


BACKEND = Backend(
    devices=('cpu', 'cuda'),
    dtypes=FLOATS,
    is_faster_in_torch=is_faster_in_torch,
    moments=moments,
    affine=affine,
    sums=sums,
    affine_grad=affine_grad,
)
