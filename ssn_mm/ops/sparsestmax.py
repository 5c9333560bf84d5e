"""SparsestMax (Sec. 2.2 of the paper) and sparsemax (its App. A), batched and differentiable."""

import torch
from torch import Tensor

from .dispatch import sparsestmax_node
from .projection import check_size, differentiable_gradient, jacobian_product, solve
from .tracing import is_readable, is_traced


def sparsemax(z: Tensor, dim: int = -1) -> Tensor:
    """Nearest point to ``z`` on the probability simplex (Eq. 2, closed form of Eq. 6 and 7).

    Args:
        z: Logits of any shape and floating dtype, at least 2 along ``dim``.
        dim: Dimension that is projected.

    Returns:
        Tensor of ``z``'s shape and dtype, non-negative, summing to 1 along ``dim``; computed in
        float32 or wider.

    Raises:
        TypeError: ``z`` is not a floating-point tensor.
        ValueError: ``z`` has fewer than 2 entries along ``dim``.
    """
    return sparsestmax(z, 0.0, dim)


def sparsestmax(z: Tensor, radius: float | Tensor, dim: int = -1) -> Tensor:
    """Point of the simplex nearest to ``z`` outside a circle around its centre (Eq. 3, Alg. 2).

    The circle's radius makes the result sparser as it grows: sparsemax at 0, one-hot at
    ``circumscribed_radius(K)`` and beyond. An entry that is 0 receives no gradient. Equal logits
    have no nearest point: they stay at the centre of their face (where the circle is not
    reached), and at the circumscribed radius the first of the largest wins.

    Args:
        z: Logits of any shape and floating dtype, K >= 2 along ``dim``.
        radius: Euclidean distance on the simplex plane, a float or a tensor that broadcasts over
            ``z``'s shape without ``dim``. It receives no gradient.
        dim: Dimension that is projected.

    Returns:
        Tensor of ``z``'s shape and dtype, non-negative, summing to 1 along ``dim``; computed in
        float32 or wider.

    Raises:
        TypeError: ``z`` is not a floating-point tensor.
        ValueError: K < 2, or ``radius`` is negative or NaN (checked for floats and for tensors
            on the CPU; on other devices, where a check would stall, NaN gives NaN).
        RuntimeError: ``SSN_MM_BACKEND`` names a backend that is not available.
    """
    rows = _rows_last(z, dim)
    r = _radius_column(radius, rows)
    node = sparsestmax_node(rows) or _SparsestMax.apply
    p = solve(rows, r)[0] if is_traced(rows) else node(rows, r)
    return p.movedim(-1, dim).to(z.dtype)


class _SparsestMax(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z, r):
        p, stretch, bend = solve(z, r)
        ctx.save_for_backward(z, r, p, stretch, bend)
        return p

    @staticmethod
    def backward(ctx, g):
        z, r, p, stretch, bend = ctx.saved_tensors
        if torch.is_grad_enabled():  # asked for a second derivative
            return differentiable_gradient(g, z, r), None
        return jacobian_product(g, z, p, stretch, bend), None


_LIBRARY = torch.library.Library('ssn_mm', 'FRAGMENT')
_LIBRARY.define('sparsestmax_gradient(Tensor g, Tensor z, Tensor r) -> Tensor')  # for C++ to call
# 'Batched' are the tensors of torch.autograd.grad(is_grads_batched=True)
for _kind in ('CompositeImplicitAutograd', 'Batched'):
    _LIBRARY.impl('sparsestmax_gradient', differentiable_gradient, _kind)


def _rows_last(z: Tensor, dim: int) -> Tensor:
    """Validates logits; returns them with ``dim`` last, in float32 or wider."""
    if not isinstance(z, Tensor) or not z.is_floating_point():
        got = z.dtype if isinstance(z, Tensor) else type(z).__name__
        raise TypeError(f'logits must be a floating-point tensor, got {got}')
    if z.dim() == 0:
        raise ValueError('logits must have at least one dimension, got a 0-d tensor')
    check_size(z.size(dim))
    return z.movedim(dim, -1).to(torch.promote_types(z.dtype, torch.float32))


def _radius_column(radius: float | Tensor, rows: Tensor) -> Tensor:
    """Validates the radius; returns it without gradient, broadcastable over ``rows``."""
    if isinstance(radius, Tensor) and radius.numel() == 1 and is_readable(radius):
        radius = radius.item()
    if isinstance(radius, Tensor):
        r = radius.detach().to(rows)
        if is_readable(r) and not (r >= 0).all():
            raise ValueError(f'radius must be a number >= 0, got {radius}')
        return r.unsqueeze(-1)
    if not radius >= 0:
        raise ValueError(f'radius must be a number >= 0, got {radius}')
    return rows.new_full((1,), float(radius))
