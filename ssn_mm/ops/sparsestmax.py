"""SparsestMax (Sec. 2.2 of the paper) and sparsemax (its App. A), batched and differentiable."""

import math

import torch
from torch import Tensor

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
    return _sparsemax(_rows_last(z, dim)).movedim(-1, dim).to(z.dtype)


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
    """
    rows = _rows_last(z, dim)
    k = rows.size(-1)
    r = _radius_column(radius, rows)
    p0 = _sparsemax(rows)
    face = torch.ones_like(p0)
    pushed = _push(p0, face, r)
    for _ in range(k - 1):  # leave a face for a smaller one while the circle leaves it
        left = (pushed < 0).any(-1, keepdim=True)
        if _readable(left) and not left.any():
            break
        face = _support(pushed).to(face).where(left, face)
        pushed = _push(p0, face, r)
    far = (p0 - 1 / k).square().sum(-1, keepdim=True) >= r.square()  # a NaN radius is not
    p = p0.where(far, pushed)
    full = r >= circumscribed_radius(k) - 1e-6  # the slack is for radii stored in float32
    if not _readable(full) or full.any():
        first = torch.nn.functional.one_hot(rows.argmax(-1), k).to(p)
        p = first.where(full, p)
    return p.movedim(-1, dim).to(z.dtype)


def _push(p0: Tensor, face: Tensor, r: Tensor) -> Tensor:
    """Where the circle of radius ``r`` cuts a face, in the direction that ``p0`` has in it.

    Alg. 2 reaches a face through larger ones, pushing (p1) and projecting (p2) on each. All of
    these only stretch the direction, so one push from ``p0`` gives the same point. ``face`` is 1
    on its support and 0 elsewhere.
    """
    centre = face.sum(-1, keepdim=True).reciprocal()
    face_radius = (r.square() + 1 / p0.size(-1) - centre).clamp(min=0).sqrt()  # r' of Alg. 2
    d = (p0 - centre) * face  # near a tie exact, so that Σd = 0 after the next line
    d = d - (d.sum(-1, keepdim=True) * centre) * face
    distance = torch.linalg.vector_norm(d, dim=-1, keepdim=True).clamp(min=TIE_DISTANCE)
    return (d * (face_radius / distance) + centre) * face


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
    if isinstance(radius, Tensor):
        r = radius.detach().to(rows)
        if _readable(r) and not (r >= 0).all():
            raise ValueError(f'radius must be a number >= 0, got {radius}')
        return r.unsqueeze(-1)
    if not radius >= 0:
        raise ValueError(f'radius must be a number >= 0, got {radius}')
    return rows.new_full((1,), float(radius))


def _readable(t: Tensor) -> bool:
    """Whether a look at the values costs nothing: on the CPU, outside of compiled graphs."""
    return t.device.type == 'cpu' and not torch.compiler.is_compiling()


def _sparsemax(z: Tensor) -> Tensor:
    """Sparsemax over the last dimension, without checks or casts."""
    z = z - z.detach().amax(-1, keepdim=True)  # keeps large logits exact
    support = _support(z).to(z)
    tau = ((z * support).sum(-1, keepdim=True) - 1) / support.sum(-1, keepdim=True)  # Eq. 7
    return torch.relu(z - tau)


@torch.no_grad()
def _support(z: Tensor) -> Tensor:
    """S(z) of Eq. 7 as a mask: what lies above an entry of it sums to less than 1."""
    if z.size(-1) <= 32:  # K² differences take fewer steps than sorting
        return (z.unsqueeze(-2) - z.unsqueeze(-1)).relu().sum(-1) < 1
    descending = z.sort(-1, descending=True).values
    total = descending.cumsum(-1)
    rank = torch.arange(1, z.size(-1) + 1, device=z.device, dtype=z.dtype)
    size = (1 + rank * descending > total).sum(-1, keepdim=True).clamp(min=1)  # a(z)
    return z >= descending.gather(-1, size - 1)
