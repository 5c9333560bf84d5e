"""EvoNorm-S0 (arXiv:2004.02967), a norm and its activation in one.

timm has it for maps (N, C, H, W), with statistics in float32 whatever the map's dtype.
"""

import torch
from torch import Tensor, nn

from ..record import ACTIVATES, Contestant
from ..registry import register_contestant


class EvoNormS0(nn.Module):
    """``γ x sigmoid(v x) / sqrt(variance + ε) + β``, with the variance of a group of channels.

    Where no activation follows, the paper has ``γ x + β`` alone.

    Args:
        num_features: Number of channels.
        num_groups: Number of groups of channels.
        eps: ε, added to the variance.
        activation: Whether it normalizes and activates; without it there are γ and β alone.

    Raises:
        ValueError: The groups do not divide the channels.
    """

    _abbr_ = 'bn'

    def __init__(
        self,
        num_features: int,
        num_groups: int = 32,
        eps: float = 1e-5,
        activation: bool = True,
    ) -> None:
        super().__init__()
        if num_features % num_groups:
            raise ValueError(
                f'num_features must be a multiple of num_groups={num_groups}, got {num_features}'
            )
        self.num_features, self.num_groups, self.eps = num_features, num_groups, eps
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.v = nn.Parameter(torch.ones(num_features)) if activation else None

    def without_activation(self) -> None:
        """Leaves γ and β alone, where no activation followed."""
        self.v = None

    def forward(self, x: Tensor) -> Tensor:
        """Normalizes and activates maps (N, C, ...)."""
        shape = (1, -1, *[1] * (x.dim() - 2))
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        y = wide
        if self.v is not None:
            groups = wide.reshape(x.size(0), self.num_groups, -1)  # (N, G, M)
            var = groups.var(2, correction=0)  # (N, G)
            factor = (var + self.eps).rsqrt().repeat_interleave(x.size(1) // self.num_groups, 1)
            y = wide * (wide * self.v.view(shape)).sigmoid()
            y = y * factor.view(x.size(0), *shape[1:])
        return (y * self.weight.view(shape) + self.bias.view(shape)).to(x.dtype)

    def extra_repr(self) -> str:
        return (
            f'{self.num_features}, num_groups={self.num_groups}, eps={self.eps}, '
            f'activation={self.v is not None}'
        )


register_contestant(
    Contestant(
        name='EvoNorm-S0',
        layer=EvoNormS0,
        norm_cfg=dict(type='EvoNormS0', num_groups=32),
        cost='Variance of each group of channels of each sample; a factor v a channel.',
        start=dict(weight=1, bias=0, v=1),
        deploys='It stays as it is, out of plain operators.',
        neighbours=[ACTIVATES],
    )
)
