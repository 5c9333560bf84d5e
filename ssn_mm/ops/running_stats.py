"""Updates the running statistics of BN and FBN in a training step."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .moments import batch_moments, exchange_moments, instance_moments
from .normalizers import world_size
from .tracing import is_readable


@dataclass(slots=True)
class Update:
    """The running statistics to update, for the backend that measures the batch.

    Attributes:
        running_mean: Running mean, (C,), updated in place.
        running_var: Running variance, (C,), updated in place with the unbiased variance.
        momentum: Weight of the batch's statistics.
        column: BN's column in the ratios. Where both rows have 0 there, nothing is updated. None
            where BN is known to take part.
        fixed: FBN's column in the ratios. Where a row has a ratio above 0 there, its statistic
            is a constant and stays. None where FBN does not take part.
    """

    running_mean: Tensor
    running_var: Tensor
    momentum: float | Tensor
    column: int | None = None
    fixed: int | None = None


@torch.no_grad()
def update_running(
    update: Update, ratios: Tensor | None, mean: Tensor, var: Tensor, count: int | Tensor
) -> None:
    """Updates running statistics with those of a batch, unless BN takes no part or FBN uses them.

    The values of the ratios alone say whether they take part, without waiting for a GPU: statistics
    after a step do not depend on what the CPU knew of a selection before it.

    Args:
        update: The running statistics.
        ratios: Importance ratios, (2, K); None where ``update`` has no columns of them.
        mean: The batch's mean, (C,).
        var: The batch's biased variance, (C,).
        count: Elements per channel of the batch.
    """
    old = update.running_mean, update.running_var
    new = [mean.to(old[0]), (var * (count / (count - 1))).to(old[1])]
    moves: Sequence[Tensor | bool] = (True, True)
    if ratios is not None and (update.column is not None or update.fixed is not None):
        which = torch.ones_like(ratios[:, 0], dtype=torch.bool)
        if update.column is not None:
            which = which & ratios[:, update.column].any()
        if update.fixed is not None:
            which = which & (ratios[:, update.fixed] == 0)
        moves = which.tolist() if is_readable(which) else which.unbind()
    for kept, t, move in zip(old, new, moves, strict=True):
        if isinstance(move, Tensor):  # a momentum of 0 would let infinite statistics in
            kept.lerp_(torch.where(move, t, kept), update.momentum)
        elif move:
            kept.lerp_(t, update.momentum)


@torch.no_grad()
def batch_statistics(x: Tensor, sync: bool) -> tuple[Tensor, Tensor, int | Tensor]:
    """Measures a batch, for running statistics of a layer in which no backend does.

    Args:
        x: The map, (N, C, *spatial).
        sync: Whether the batches of all processes of the default group are one.

    Returns:
        Mean and biased variance, (C,), and elements per channel.
    """
    mean, var = instance_moments(x.detach())
    count = x.numel() // x.size(1)
    if count:
        mean, var = batch_moments(mean, var)
    else:  # the other processes wait for this one, too
        mean, var = mean.sum(0, keepdim=True), var.sum(0, keepdim=True)
    if sync and world_size() > 1:
        batch, total = exchange_moments(mean, var, count)
        return batch[0], batch[1], total
    return mean[0], var[0], count
