"""Updates BN's running statistics in a training step."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .tracing import is_readable


@dataclass(slots=True)
class Update:
    """The running statistics to update, for the backend that measures the batch.

    Attributes:
        running_mean: BN's running mean, (C,), updated in place.
        running_var: BN's running variance, (C,), updated in place with the unbiased variance.
        momentum: Weight of the batch's statistics.
        column: BN's column in the ratios. Where both rows have 0 there, nothing is updated. None
            where BN is known to take part.
    """

    running_mean: Tensor
    running_var: Tensor
    momentum: float | Tensor
    column: int | None = None


@torch.no_grad()
def update_running(
    update: Update, ratios: Tensor, mean: Tensor, var: Tensor, count: int | Tensor
) -> None:
    """Updates running statistics with those of a batch, unless BN takes no part.

    The values of the ratios alone say whether BN takes part, without waiting for a GPU: statistics
    after a step do not depend on what the CPU knew of a selection before it.

    Args:
        update: The running statistics.
        ratios: Importance ratios, (2, K).
        mean: The batch's mean, (C,).
        var: The batch's biased variance, (C,).
        count: Elements per channel of the batch.
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
