"""BN's running statistics, as a training step updates them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .tracing import is_readable


@dataclass(slots=True)
class Update:
    """What to do with the batch's statistics, for the backend that measures them.

    Attributes:
        running_mean: (C,), updated in place.
        running_var: (C,), updated in place with the unbiased variance.
        momentum: Share of the new statistics.
        column: BN's in the ratios that are mixed. Where both rows have 0 there, nothing is
            updated. None where BN is known to take part.
    """

    running_mean: Tensor
    running_var: Tensor
    momentum: float | Tensor
    column: int | None = None


@torch.no_grad()
def update_running(
    update: Update, ratios: Tensor, mean: Tensor, var: Tensor, count: int | Tensor
) -> None:
    """Takes in mean and biased variance, (C,), of ``count`` elements per channel.

    Whether BN takes part is told by the values of ``ratios`` (2, K) alone, without waiting for a
    GPU: statistics after a step do not depend on what the host knew of a selection before it.
    """
    old = update.running_mean, update.running_var
    new = [mean.to(old[0]), (var * (count / (count - 1))).to(old[1])]
    if update.column is not None:
        used = ratios[:, update.column].any()
        if not is_readable(used):  # a momentum of 0 would let infinite statistics in
            new = [torch.where(used, t, kept) for t, kept in zip(new, old, strict=True)]
        elif not used:
            return
    for kept, t in zip(old, new, strict=True):
        kept.lerp_(t, update.momentum)
