"""BN's running statistics, as a training step updates them."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(slots=True)
class Update:
    """What to do with the batch's statistics, for the backend that measures them.

    Attributes:
        running_mean: (C,), updated in place.
        running_var: (C,), updated in place with the unbiased variance.
        momentum: Share of the new statistics.
    """

    running_mean: Tensor
    running_var: Tensor
    momentum: float | Tensor


@torch.no_grad()
def update_running(update: Update, mean: Tensor, var: Tensor, count: int | Tensor) -> None:
    """Takes in mean and biased variance, (C,), of ``count`` elements per channel."""
    unbiased = var * (count / (count - 1))
    update.running_mean.lerp_(mean.to(update.running_mean), update.momentum)
    update.running_var.lerp_(unbiased.to(update.running_var), update.momentum)
