"""Means and variances of the normalizers that measure, all from one pass over the feature map.

Every variance is biased (divided by the number of elements), so that 1x1 maps stay finite.
The wider normalizers merge the per-instance moments instead of accumulating E[x^2], which
would cancel when the mean is large: var = mean of variances + variance of means (Chan et al.),
exact because every instance has the same number of elements.
"""

import torch
import torch.distributed as dist
from torch import Tensor

Moments = tuple[Tensor, Tensor]  # mean and biased variance, of one shape


def instance_moments(x: Tensor) -> Moments:
    """Moments of IN, over the spatial elements of each channel of each sample.

    Args:
        x: (N, C, *spatial), spatial of any rank, none included.

    Returns:
        Mean and variance, (N, C), in float32 or wider.
    """
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    if x.dim() == 2:
        return x, torch.zeros_like(x)
    var, mean = torch.var_mean(x, tuple(range(2, x.dim())), correction=0)
    return mean, var


def double(t: Tensor) -> Tensor:
    """A tensor in float64; on the CPU where its own device has no such numbers (Apple's MPS)."""
    return (t.cpu() if t.is_mps else t).double()


def layer_moments(mean: Tensor, var: Tensor) -> Moments:
    """Moments of LN, over all channels of each sample: (N, 1) from instance moments (N, C)."""
    return _merge(mean, var, 1)


def batch_moments(mean: Tensor, var: Tensor) -> Moments:
    """Moments of BN, over all samples of each channel: (1, C) from instance moments (N, C)."""
    return _merge(mean, var, 0)


def group_moments(mean: Tensor, var: Tensor, num_groups: int) -> Moments:
    """Moments of GN, over the channels of each group of each sample.

    Args:
        mean: Instance means, (N, C).
        var: Instance variances, (N, C).
        num_groups: Number of groups of consecutive channels; divides C.

    Returns:
        Mean and variance, (N, C), equal within a group.
    """
    shape = mean.shape
    grouped = (shape[0], num_groups, shape[1] // num_groups)
    mean, var = _merge(mean.reshape(grouped), var.reshape(grouped), 2)
    return mean.expand(grouped).reshape(shape), var.expand(grouped).reshape(shape)


def sync_moments(mean: Tensor, var: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Moments of BN over all processes of the default group; gradients flow to every process.

    There is one exchange, and one more for the gradients; all processes get the same bits.

    Args:
        mean: Batch mean of this process, (1, C).
        var: Biased batch variance of this process, (1, C).
        count: Elements per channel on this process; may differ between processes, 0 for none.

    Returns:
        Mean and variance (1, C) of the joint batch, and its elements per channel, (1,).
    """
    return _SyncMoments.apply(mean, var, count)


def exchange_moments(mean: Tensor, var: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Moments of BN over all processes, without gradients.

    Args:
        mean: Batch mean of this process, (1, C).
        var: Biased batch variance of this process, (1, C).
        count: Elements per channel on this process.

    Returns:
        Mean and variance of the joint batch, (2, C), and its elements per channel, (1,).
    """
    parts = gather_processes(torch.cat([mean[0], var[0], mean.new_full((1,), count)]))
    mean, var, counts = parts.split([mean.size(1), mean.size(1), 1], 1)
    total = counts.sum(0)
    share = counts / total
    joint = (mean * share).sum(0)
    spread = ((var + (mean - joint).square()) * share).sum(0)
    return torch.stack([joint, spread]), total


def gather_processes(t: Tensor) -> Tensor:
    """Gathers ``t`` (M,) of all processes of the default group, in order: (processes, M)."""
    gathered = t.new_empty(dist.get_world_size() * t.numel())
    old = not hasattr(dist, 'all_gather_single')  # which is PyTorch 2.13's name for it
    (dist.all_gather_into_tensor if old else dist.all_gather_single)(gathered, t)
    return gathered.view(-1, t.numel())


def sum_processes(t: Tensor) -> Tensor:
    """Adds ``t`` of the other processes to it in place, and returns it."""
    dist.all_reduce(t)
    return t


class _SyncMoments(torch.autograd.Function):
    @staticmethod
    def forward(ctx, mean, var, count):
        joint, total = exchange_moments(mean, var, count)
        joint_mean, joint_var = joint.split(1)
        ctx.save_for_backward(mean, joint_mean, total)
        ctx.count = count
        ctx.mark_non_differentiable(total)
        return joint_mean, joint_var, total

    @staticmethod
    def backward(ctx, grad_mean, grad_var, _):
        mean, joint_mean, total = ctx.saved_tensors
        share = ctx.count / total
        to_mean, to_var = (_Sum.apply(torch.cat([grad_mean, grad_var])) * share).split(1)
        return to_mean + 2 * (mean - joint_mean) * to_var, to_var, None


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, t):
        return sum_processes(t.clone())

    @staticmethod
    def backward(ctx, g):
        return _Sum.apply(g)


def _merge(mean: Tensor, var: Tensor, dim: int) -> Moments:
    spread, mean = torch.var_mean(mean, dim, correction=0, keepdim=True)
    return mean, var.mean(dim, keepdim=True) + spread
