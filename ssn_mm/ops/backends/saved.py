"""The tensor that the forward pass keeps for the backward pass besides the map, and its parts."""

from typing import NamedTuple

import torch
from torch import Tensor

PER_INSTANCE, CURVE = 5, 5  # tensors (N, C), then numbers


class Saved(NamedTuple):
    """Views of the packed state of one call of the operator, (5·N·C + 5,), float32 or float64.

    Attributes:
        mean: Means of the instances, (N, C).
        var: Their biased variances, (N, C).
        shift: The mixed mean M, (N, C).
        rstd: R = 1/sqrt(V + ε) of the mixed variance V, (N, C).
        scale: γR, (N, C).
        stretch: The stretch of SparsestMax, (2,), see ``projection.solve``.
        bend: The bend of SparsestMax, (2,), see ``projection.solve``.
        share: This process' fraction of BN's elements, (1,); 1 unless BN spans all processes.
    """

    mean: Tensor
    var: Tensor
    shift: Tensor
    rstd: Tensor
    scale: Tensor
    stretch: Tensor
    bend: Tensor
    share: Tensor

    def pack(self) -> Tensor:
        """Copies all parts into one new tensor."""
        return torch.cat([t.flatten() for t in self])


def state_size(n: int, c: int) -> int:
    """How many numbers the packed state of a map (N, C, *spatial) has."""
    return PER_INSTANCE * n * c + CURVE


def unpack(state: Tensor, n: int, c: int) -> Saved:
    """The parts of a packed state of a map (N, C, *spatial), as views."""
    mean, var, shift, rstd, scale = state[:-CURVE].view(PER_INSTANCE, n, c).unbind()
    stretch, bend, share = state[-5:-3], state[-3:-1], state[-1:]
    return Saved(mean, var, shift, rstd, scale, stretch, bend, share)


def share_of(state: Tensor) -> Tensor:
    """This process' fraction of BN's elements, 0-d."""
    return state[-1]
