"""Means and variances of the four normalizers, all from one pass over the feature map.

Every variance is biased (divided by the number of elements), so that 1x1 maps stay finite.
The wider normalizers merge the per-instance moments instead of accumulating E[x^2], which
would cancel when the mean is large: var = mean of variances + variance of means (Chan et al.),
exact because every instance has the same number of elements.
"""

import math

import torch
import torch.distributed as dist
from torch import Tensor

Moments = tuple[Tensor, Tensor]  # mean and biased variance, of one shape


def instance_moments(x: Tensor, correction: int = 0) -> Moments:
    """IN: over the spatial elements of each channel of each sample.

    Args:
        x: (N, C, *spatial), spatial of any rank, none included.
        correction: Elements that the variance is short of, as in ``torch.var``; 0 on maps that
            have no more.

    Returns:
        Mean and variance, (N, C), in float32 or wider.
    """
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    if x.dim() == 2:
        return x, torch.zeros_like(x)
    enough = math.prod(x.shape[2:]) > correction
    spatial = tuple(range(2, x.dim()))
    var, mean = torch.var_mean(x, spatial, correction=correction if enough else 0)
    return mean, var


def layer_moments(mean: Tensor, var: Tensor) -> Moments:
    """LN: over all channels of each sample. (N, C) instance moments in, (N, 1) out."""
    return _merge(mean, var, 1)


def batch_moments(mean: Tensor, var: Tensor) -> Moments:
    """BN: over all samples of each channel. (N, C) instance moments in, (1, C) out."""
    return _merge(mean, var, 0)


def group_moments(mean: Tensor, var: Tensor, num_groups: int) -> Moments:
    """GN: over the channels of each group of each sample.

    Args:
        mean: (N, C) instance means.
        var: (N, C) instance variances.
        num_groups: Number of groups of consecutive channels; divides C.

    Returns:
        Mean and variance, (N, C), equal within a group.
    """
    shape = mean.shape
    grouped = (shape[0], num_groups, shape[1] // num_groups)
    mean, var = _merge(mean.reshape(grouped), var.reshape(grouped), 2)
    return mean.expand(grouped).reshape(shape), var.expand(grouped).reshape(shape)


def sync_moments(mean: Tensor, var: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """BN over all processes of the default group; gradients flow to every process.

    Args:
        mean: (1, C) batch mean of this process.
        var: (1, C) batch variance of this process.
        count: Elements per channel on this process; may differ between processes.

    Returns:
        Mean and variance (1, C) of the joint batch, and its elements per channel, 0-d.
    """
    from torch.distributed.nn.functional import all_reduce  # not in every build of PyTorch

    total = mean.new_full((), count)
    dist.all_reduce(total)
    joint_mean = all_reduce(mean * (count / total))
    joint_var = all_reduce((var + (mean - joint_mean).square()) * (count / total))
    return joint_mean, joint_var, total


def _merge(mean: Tensor, var: Tensor, dim: int) -> Moments:
    spread, mean = torch.var_mean(mean, dim, correction=0, keepdim=True)
    return mean, var.mean(dim, keepdim=True) + spread
