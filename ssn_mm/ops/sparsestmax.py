"""SparsestMax (Sec. 2.2 of the paper) and sparsemax (its App. A), batched and differentiable."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .dispatch import named_backend
from .tracing import is_readable, is_traced

# Logits this close to equal (as a distance from the centre of their face) are not told apart: the
# radial step divides by max(||d||, TIE_DISTANCE), which bounds the Jacobian by r_c / TIE_DISTANCE
# and keeps an exact tie at the centre.
TIE_DISTANCE = 1e-4


def inscribed_radius(k: int) -> float:
    """Radius ``1/sqrt(k(k-1))`` at which the circle around the centre touches the faces.

    Args:
        k: Number of entries of the simplex, at least 2.

    Returns:
        Euclidean distance on the simplex plane.

    Raises:
        ValueError: ``k`` is below 2.
    """
    return 1 / math.sqrt(_check_size(k) * (k - 1))


def circumscribed_radius(k: int) -> float:
    """Radius ``sqrt((k-1)/k)`` at which only the vertices are left: every row is one-hot.

    Args:
        k: Number of entries of the simplex, at least 2.

    Returns:
        Euclidean distance on the simplex plane.

    Raises:
        ValueError: ``k`` is below 2.
    """
    return math.sqrt((_check_size(k) - 1) / k)


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
    node = _node(rows)
    p = solve(rows, r)[0] if is_traced(rows) else node(rows, r)
    return p.movedim(-1, dim).to(z.dtype)


def solve(z: Tensor, r: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """SparsestMax over the last dimension, without checks or casts; differentiable.

    Alg. 2 pushes and projects until no entry is negative. All of that only stretches the direction
    z - mean(z) within a face: the point is 1/m + stretch * (z - mean) with the face's m and mean,
    stretch 1 where sparsemax lies outside of the circle.

    Args:
        z: Logits (..., K), float32 or wider.
        r: Radius, broadcastable to (..., 1).

    Returns:
        p, (..., K); and what :func:`jacobian_product` needs, (..., 1): the stretch, and the bend,
        which is stretch / ||z - mean||² where the stretch varies with z and 0 elsewhere.
    """
    k = z.size(-1)
    z = z - z.detach().amax(-1, keepdim=True)  # keeps large logits exact
    outside, m = _find_face(z.detach(), r)
    mean = z.masked_fill(outside, 0).sum(-1, keepdim=True) / m
    d = (z - mean).masked_fill(outside, 0)
    square = (d * d).sum(-1, keepdim=True)
    stretch = _stretch(square, r, m, k)
    bend = (stretch / square).masked_fill((stretch == 1) | (square <= TIE_DISTANCE**2), 0)
    p = (1 / m + stretch * d).clamp(min=0).masked_fill(outside, 0)  # rounding may leave the face
    full = r >= circumscribed_radius(k) - 1e-6  # the slack is for radii stored in float32
    if not is_readable(full) or full.any():
        ranks = torch.arange(k, device=z.device)
        p = (ranks == z.argmax(-1, keepdim=True)).to(p).where(full, p)
    return p, stretch, bend


def _find_face(z: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    """Which entries of ``z`` (..., K), at most 0, are off the point's face; how many are on it.

    The faces that it may end on are those of the m largest entries: it is the largest on which the
    stretched point is not negative.
    """
    k = z.size(-1)
    s = z.sort(-1, descending=True).values
    m = torch.arange(1, k + 1, device=z.device, dtype=z.dtype)
    total, squares = _running_sums(torch.stack((s, s * s))).unbind()
    mean = total / m
    square = squares - mean * total  # ||z - mean||², stable: s[0] is 0
    last = s - mean  # of the face's smallest entry
    # within sparsemax's support (Eq. 7)
    fits = (m * s - total > -1) & (1 / m + _stretch(square, r, m, k) * last >= 0)
    fits[..., :-1] &= s[..., :-1] > s[..., 1:]  # equal logits stay together
    size = (fits * m).amax(-1, keepdim=True).clamp(min=1)
    return z < s.masked_fill(m != size, 0).sum(-1, keepdim=True), size


def _stretch(square: Tensor, r: Tensor, m: Tensor, k: int) -> Tensor:
    """From ||z - mean||² on faces of m entries to where Alg. 2's circle of radius r' is."""
    rho = (r * r + (1 / k - 1 / m)).clamp(min=0).sqrt()  # r' of Alg. 2
    distance = square.clamp(min=TIE_DISTANCE**2).sqrt()
    return (rho / distance).masked_fill(square >= rho * rho, 1)


def _running_sums(t: Tensor) -> Tensor:
    """As ``cumsum`` over the last dimension, which on CUDA has no deterministic algorithm."""
    step = 1
    while step < t.size(-1):
        t = torch.cat((t[..., :step], t[..., step:] + t[..., :-step]), -1)
        step *= 2
    return t


def jacobian_product(g: Tensor, z: Tensor, p: Tensor, stretch: Tensor, bend: Tensor) -> Tensor:
    """The gradient for logits ``z`` from ``g``, that for p: (..., K), with results of `solve`.

    On p's face: stretch * P g - bend * d (d·P g), with P v = v - mean(v) and d = P z.
    """
    face = (p > 0).to(p)
    share = face / face.sum(-1, keepdim=True)
    g = g * face - (g * share).sum(-1, keepdim=True) * face
    z = (z - z.amax(-1, keepdim=True)) * face  # keeps large logits exact
    d = z - (z * share).sum(-1, keepdim=True) * face
    return stretch * g - (bend * (d * g).sum(-1, keepdim=True)) * d


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
            return _differentiable_gradient(g, z, r), None
        return jacobian_product(g, z, p, stretch, bend), None


def _differentiable_gradient(g: Tensor, z: Tensor, r: Tensor) -> Tensor:
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        p = solve(z, r)[0]
    return torch.autograd.grad(p, z, g, create_graph=again)[0]


_LIBRARY = torch.library.Library('ssn_mm', 'FRAGMENT')
_LIBRARY.define('sparsestmax_gradient(Tensor g, Tensor z, Tensor r) -> Tensor')  # for C++ to call
for _kind in ('CompositeImplicitAutograd', 'Batched'):  # that of is_grads_batched=True, too
    _LIBRARY.impl('sparsestmax_gradient', _differentiable_gradient, _kind)


def _node(z: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """What projects rows as one node of the graph: C++ where it serves them."""
    name = named_backend()
    if name not in ('', 'cpp') or not z.is_cpu or not z.numel() or is_traced(z):
        return _SparsestMax.apply
    from .backends import cpp, loading  # whose neighbours import this module

    if not name and not cpp.is_available():
        return _SparsestMax.apply
    return loading.load_kernels('cpp', z).sparsestmax


def _check_size(k: int) -> int:
    if k < 2:
        raise ValueError(f'a choice needs at least 2 entries, got {k}')
    return k


def _rows_last(z: Tensor, dim: int) -> Tensor:
    """Validates logits; returns them with ``dim`` last, in float32 or wider."""
    if not isinstance(z, Tensor) or not z.is_floating_point():
        got = z.dtype if isinstance(z, Tensor) else type(z).__name__
        raise TypeError(f'logits must be a floating-point tensor, got {got}')
    if z.dim() == 0:
        raise ValueError('logits must have at least one dimension, got a 0-d tensor')
    _check_size(z.size(dim))
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
