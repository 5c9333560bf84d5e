"""The mathematics of SparsestMax (Alg. 2 of the paper) in PyTorch; kernels have their own forms."""

import math

import torch
from torch import Tensor

from .tracing import is_readable

# Logits this close to equal (as a distance from the centre of their face) count as equal: the
# radial step divides by max(||d||, TIE_DISTANCE), which bounds the Jacobian by r_c / TIE_DISTANCE
# and keeps an exact tie at the centre.
TIE_DISTANCE = 1e-4
# How far below the circumscribed radius rows are one-hot already, for radii stored in float32.
RADIUS_SLACK = 1e-6


def inscribed_radius(k: int) -> float:
    """Radius ``1/sqrt(k(k-1))`` at which the circle around the centre touches the faces.

    Args:
        k: Number of entries of the simplex, at least 2.

    Returns:
        Euclidean distance on the simplex plane.

    Raises:
        ValueError: ``k`` is below 2.
    """
    return 1 / math.sqrt(check_size(k) * (k - 1))


def circumscribed_radius(k: int) -> float:
    """Radius ``sqrt((k-1)/k)`` at which only the vertices are left: every row is one-hot.

    Args:
        k: Number of entries of the simplex, at least 2.

    Returns:
        Euclidean distance on the simplex plane.

    Raises:
        ValueError: ``k`` is below 2.
    """
    return math.sqrt((check_size(k) - 1) / k)


def one_hot_radius(k: int) -> float:
    """The radius from which SparsestMax makes every row of K entries one-hot; K may be 1."""
    return math.sqrt((k - 1) / k) - RADIUS_SLACK


def solve(z: Tensor, r: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """SparsestMax over the last dimension, without checks or casts; differentiable.

    Alg. 2 pushes and projects until no entry is negative. All of its steps only stretch the
    direction z - mean(z) within a face: the point is 1/m + stretch * (z - mean), with the number of
    entries m and the mean of the face. The stretch is 1 where sparsemax lies outside of the circle.

    Args:
        z: Logits (..., K), float32 or wider.
        r: Radius, broadcastable to (..., 1).

    Returns:
        p, (..., K); and the stretch and the bend, (..., 1), which :func:`jacobian_product` needs.
        The bend is stretch / ||z - mean||² where the stretch varies with z, and 0 elsewhere.
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
    full = r >= one_hot_radius(k)
    if not is_readable(full) or full.any():
        ranks = torch.arange(k, device=z.device)
        p = (ranks == z.argmax(-1, keepdim=True)).to(p).where(full, p)
    return p, stretch, bend


def _find_face(z: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    """Finds the face on which Alg. 2 ends: that of the m largest logits.

    It is the largest face on which the stretched point has no negative entry.

    Args:
        z: Logits (..., K), the largest of which is 0.
        r: Radius, broadcastable to (..., 1).

    Returns:
        Which entries are off the face, (..., K); and m, (..., 1).
    """
    k = z.size(-1)
    s = z.sort(-1, descending=True).values
    m = torch.arange(1, k + 1, device=z.device, dtype=z.dtype)
    total, squares = _running_sums(torch.stack((s, s * s))).unbind()
    mean = total / m
    square = squares - mean * total  # ||z - mean||², stable: s[0] is 0
    last = s - mean  # what the smallest entry of each face is above its mean
    # m is within sparsemax's support (Eq. 7), and no entry is negative
    fits = (m * s - total > -1) & (1 / m + _stretch(square, r, m, k) * last >= 0)
    fits[..., :-1] &= s[..., :-1] > s[..., 1:]  # equal logits stay together
    size = (fits * m).amax(-1, keepdim=True).clamp(min=1)
    return z < s.masked_fill(m != size, 0).sum(-1, keepdim=True), size


def _stretch(square: Tensor, r: Tensor, m: Tensor, k: int) -> Tensor:
    """The factor that takes a point of a face, seen from its centre, to Alg. 2's circle.

    Args:
        square: ||z - mean||² on the face.
        r: Radius.
        m: Entries of the face.
        k: Entries of the simplex.
    """
    rho = (r * r + (1 / k - 1 / m)).clamp(min=0).sqrt()  # r' of Alg. 2
    distance = square.clamp(min=TIE_DISTANCE**2).sqrt()
    return (rho / distance).masked_fill(square >= rho * rho, 1)


def _running_sums(t: Tensor) -> Tensor:
    """Sums as ``cumsum`` does over the last dimension, deterministic on CUDA, where that is not."""
    step = 1
    while step < t.size(-1):
        t = torch.cat((t[..., :step], t[..., step:] + t[..., :-step]), -1)
        step *= 2
    return t


def jacobian_product(g: Tensor, z: Tensor, p: Tensor, stretch: Tensor, bend: Tensor) -> Tensor:
    """The gradient for logits, (..., K), from that for p.

    On p's face it is stretch * P g - bend * d (d·P g), with P v = v - mean(v) and d = P z.

    Args:
        g: Gradient for p, (..., K).
        z: Logits, (..., K).
        p: What :func:`solve` returned for them, as are ``stretch`` and ``bend``.
        stretch: (..., 1).
        bend: (..., 1).
    """
    face = (p > 0).to(p)
    share = face / face.sum(-1, keepdim=True)
    g = g * face - (g * share).sum(-1, keepdim=True) * face
    z = (z - z.amax(-1, keepdim=True)) * face  # keeps large logits exact
    d = z - (z * share).sum(-1, keepdim=True) * face
    return stretch * g - (bend * (d * g).sum(-1, keepdim=True)) * d


def differentiable_gradient(g: Tensor, z: Tensor, r: Tensor) -> Tensor:
    """The gradient for logits ``z`` from ``g``, that for p; it can be differentiated again."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        p = solve(z, r)[0]
    return torch.autograd.grad(p, z, g, create_graph=again)[0]


def check_size(k: int) -> int:
    """Returns K; raises ValueError if it is below 2."""
    if k < 2:
        raise ValueError(f'a selection needs at least 2 entries, got {k}')
    return k
