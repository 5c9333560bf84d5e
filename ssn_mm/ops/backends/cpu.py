"""Eq. 1 on a CPU without a compiler: one pass over x forward, two backward.

Group normalization with a group per (n, c) measures x and writes the instance-normalised map in
one fused pass; its backward yields Σdy and Σdy·x̂. The rest of Eq. 1 acts on (N, C) numbers:
y = a·(x - mean) + b, and dx = a·dy + p·(x - mean) + q, with the instance mean and factors per
(n, c): differences of means lose less than the means would where these are large.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .reference import Batch, mix_moments

_INSTANCE_EPS = 1e-12  # the fused pass needs one; Eq. 1's is added to the mixed variance


def is_best(x: Tensor) -> bool:
    """Whether this input needs no conversion; compiled graphs fuse the reference instead."""
    return (
        x.device.type == 'cpu'
        and x.dtype in (torch.float32, torch.float64)
        and x.dim() > 2
        and x.numel() > 0
        and x.is_contiguous()
        and not torch.compiler.is_compiling()
    )


def switch_norm(
    x: Tensor,
    ratios: Tensor,
    normalizers: Sequence[str],
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    eps: float,
    num_groups: int,
    sync: bool,
) -> tuple[Tensor, Batch | None]:
    """As the reference backend's; saves x and O(N·C) numbers for the backward pass.

    Contiguous float32 and float64 is what it computes on; other inputs are converted.

    Raises:
        RuntimeError: ``x`` is empty or not on a CPU; or a second derivative is asked for.
    """
    if x.device.type != 'cpu' or not x.numel():
        raise RuntimeError(
            f"SSN_MM_BACKEND='cpu' takes CPU tensors with elements, got {tuple(x.shape)} on "
            f'{x.device}; unset it or choose the reference'
        )
    batch: list[Batch | None] = [None]

    def to_affine(mean: Tensor, var: Tensor, *inputs: Tensor | None) -> tuple[Tensor, Tensor]:
        """a and b of y = a·(x - mean) + b, (N, C), from instance moments; differentiable."""
        ratios, weight, bias = inputs
        assert ratios is not None
        count = x.numel() // x.size(1)
        (mixed_mean, mixed_var), batch[0] = mix_moments(
            mean, var, count, ratios, normalizers, running_mean, running_var, num_groups, sync
        )
        a = torch.rsqrt(mixed_var + eps).expand_as(mean)
        if weight is not None:
            a = a * weight.to(a)
        b = a * (mean - mixed_mean)
        if bias is not None:
            b = b + bias.to(b)
        return a, b

    wide = x.contiguous().to(torch.promote_types(x.dtype, torch.float32))
    y = _SwitchNorm.apply(to_affine, wide, ratios, weight, bias).to(x.dtype)
    if not x.is_contiguous():
        y = torch.empty_like(x).copy_(y)
    return y, batch[0]


class _SwitchNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, to_affine, x, *inputs):
        n, c = x.shape[:2]
        # (1, N·C, S) in N·C groups: every (n, c) is a group
        y, mean, rstd = torch.ops.aten.native_group_norm(
            x.view(1, n * c, -1), None, None, 1, n * c, x[0, 0].numel(), n * c, _INSTANCE_EPS
        )
        mean, rstd = mean.view(n, c), rstd.view(n, c)
        var = (rstd.square().reciprocal() - _INSTANCE_EPS).clamp(min=0)
        with torch.enable_grad():
            small = [t.detach().requires_grad_() if t is not None else None for t in inputs]
            moments = [mean.detach().requires_grad_(), var.detach().requires_grad_()]
            a, b = to_affine(*moments, *small)
        ctx.save_for_backward(x, rstd)
        ctx.small = (moments, small, a, b)
        y.view(n, c, -1).mul_((a.detach() / rstd)[..., None]).add_(b.detach()[..., None])
        return torch.ops.aten._unsafe_view(y, x.shape)  # no view: an in-place ReLU may follow

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):
        x, rstd = ctx.saved_tensors
        moments, small, a, b = ctx.small
        n, c = x.shape[:2]
        area = x[0, 0].numel()
        mean = moments[0].detach()
        flat = (1, n * c, area)
        dy = dy.contiguous()
        _, dot, total = torch.ops.aten.native_group_norm_backward(
            dy.view(flat),
            x.view(flat),
            mean.view(1, -1),
            rstd.view(1, -1),
            x.new_ones(n * c),  # the op leaves the sums out without a weight
            1,
            n * c,
            area,
            n * c,
            [False, True, True],
        )
        total = total.view(n, c)  # Σdy = dL/db
        dot = dot.view(n, c) / rstd  # Σdy·(x - mean) = dL/da
        wanted = [t for t in (*moments, *small) if t is not None]
        grads = iter(
            torch.autograd.grad(
                (a, b),
                wanted,
                (dot, total),
                retain_graph=True,  # for callers that retain the whole graph
                materialize_grads=True,
            )
        )
        dmean, dvar = next(grads), next(grads)
        rest = [next(grads) if t is not None else None for t in small]
        p = dvar * (2 / area)
        q = (dmean - a.detach() * total) / area - p * mean  # the mean in x - mean, and p's
        dx = torch.addcmul(q[..., None], dy.view(n, c, -1), a.detach()[..., None])
        dx.addcmul_(x.view(n, c, -1), p[..., None])
        return None, dx.view(x.shape), *rest
