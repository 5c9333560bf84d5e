"""Dynamic tanh (arXiv:2503.10622), which measures nothing."""

import torch
from torch import Tensor, nn

from ..record import Contestant
from ..registry import register_contestant


class DyT(nn.Module):
    """``γ tanh(a x) + β``, a being one number a layer, the parameter ``alpha``.

    Args:
        num_features: Number of channels.
        alpha: Where that number starts.
        eps: Unused; mmcv gives every norm one.
    """

    _abbr_ = 'bn'

    def __init__(self, num_features: int, alpha: float = 0.5, eps: float = 0.0) -> None:
        super().__init__()
        self.num_features = num_features
        self.alpha = nn.Parameter(torch.tensor([alpha]))
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))

    def forward(self, x: Tensor) -> Tensor:
        """Squashes maps (N, C, ...)."""
        shape = (1, -1, *[1] * (x.dim() - 2))
        y = torch.tanh(self.alpha * x) * self.weight.view(shape) + self.bias.view(shape)
        return y.to(x.dtype)

    def extra_repr(self) -> str:
        return str(self.num_features)


register_contestant(
    Contestant(
        name='DyT',
        layer=DyT,
        norm_cfg=dict(type='DyT', alpha=0.5),
        cost='Nothing is measured; one factor a layer.',
        start=dict(weight=1, bias=0, alpha=0.5),
        deploys='It stays as it is, out of plain operators.',
        neighbours=[],
    )
)
