"""Batch renormalization (arXiv:1702.03275)."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from ..record import Contestant
from ..registry import register_contestant
from .frozen_batch_norm import FrozenBN


class BatchRenorm(_BatchNorm):
    """Batch norm whose outputs in training tend to those of its running statistics.

    With mean m and deviation s of the batch, and running m' and s', the output is
    ``((x - m) / s * r + d) * γ + β`` (Algorithm 1), where ``r = s / s'`` and ``d = (m - m') / s'``
    are constants, held within ``1 / r_max`` to ``r_max`` and ``-d_max`` to ``d_max``. Here s' is an
    average of deviations, as in the paper, and kept as the variance that batch norm has.

    Args:
        num_features: Number of channels.
        eps: Added to the variance.
        momentum: Part of a new batch in the running statistics.
        r_max: Where the limit of r ends, from 1 on.
        d_max: Where the limit of d ends, from 0 on.
        steps: Steps until which this is batch norm, at which d_max and at which r_max is reached.

    Raises:
        ValueError: ``steps`` do not rise, a limit is too small, or ``momentum`` is none.
    """

    _abbr_ = 'bn'
    momentum: float
    num_batches_tracked: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.01,
        r_max: float = 3.0,
        d_max: float = 5.0,
        steps: Sequence[int] = (5000, 25000, 40000),
    ) -> None:
        if r_max < 1 or d_max < 0:
            raise ValueError(f'r_max must be at least 1 and d_max 0, got {r_max} and {d_max}')
        if len(steps) != 3 or not 0 <= steps[0] <= steps[1] <= steps[2]:
            raise ValueError(f'steps must be three numbers that rise, got {tuple(steps)}')
        if not momentum:
            raise ValueError(f'momentum must be above 0, got {momentum}')
        super().__init__(num_features, eps, momentum)
        self.r_max, self.d_max, self.steps = r_max, d_max, tuple(steps)

    def forward(self, input: Tensor) -> Tensor:
        """Normalizes maps (N, C, ...)."""
        if not self.training:
            constants = (self.running_mean, self.running_var, self.weight, self.bias)
            return functional.batch_norm(input, *constants, training=False, eps=self.eps)
        if input.numel() == input.size(1):
            raise ValueError(
                f'BatchRenorm in training needs several values a channel, got {tuple(input.shape)}'
            )
        half = input.dtype in (torch.float16, torch.bfloat16)
        wide = input.float() if half else input
        shape = (1, -1, *[1] * (input.dim() - 2))
        var, mean = torch.var_mean(wide, [0, *range(2, input.dim())], correction=0)
        deviation = (var + self.eps).sqrt()
        r, d = self._correction(mean.detach(), deviation.detach())
        y = (wide - mean.view(shape)) * (r / deviation * self.weight).view(shape)
        y = y + (d * self.weight + self.bias).view(shape)
        return y.to(input.dtype)

    @torch.no_grad()
    def _correction(self, mean: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
        """r and d, (C,), of a batch, after which it is part of the running statistics."""
        running = (self.running_var + self.eps).sqrt()
        start, d_end, r_end = self.steps
        d_part, r_part = (
            ((self.num_batches_tracked.to(running) - start) / max(end - start, 1)).clamp(0, 1)
            for end in (d_end, r_end)
        )
        r_max, d_max = 1 + (self.r_max - 1) * r_part, self.d_max * d_part
        r = torch.minimum(torch.maximum(deviation / running, 1 / r_max), r_max)
        d = torch.minimum(torch.maximum((mean - self.running_mean) / running, -d_max), d_max)
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean.to(self.running_mean), self.momentum)
        running = running.lerp(deviation.to(running), self.momentum)
        self.running_var.copy_(running.square() - self.eps)
        return r, d

    def _check_input_dim(self, input: Tensor) -> None:
        """Maps may have any number of spatial dimensions."""

    def plain_layer(self) -> FrozenBN:
        """Batch norm in evaluation, which it equals there."""
        new = FrozenBN(self.num_features, self.eps).to(self.weight)
        new.load_state_dict(self.state_dict())
        return new.eval()


register_contestant(
    Contestant(
        name='BatchRenorm',
        layer=BatchRenorm,
        norm_cfg=dict(
            type='BatchRenorm', momentum=0.01, r_max=3.0, d_max=5.0, steps=(5000, 25000, 40000)
        ),
        cost='Mean and variance of each channel over the batch; running statistics.',
        start=dict(weight=1, bias=0),
        deploys='It is folded into the convolution before it.',
        neighbours=[],
    )
)
