"""Filter response normalization with its thresholded linear unit (arXiv:1911.09737).

timm has it for maps (N, C, H, W), with statistics in float32 whatever the map's dtype.
"""

import torch
from torch import Tensor, nn

from ..record import ACTIVATES, Contestant
from ..registry import register_contestant


class FRN(nn.Module):
    """``max(γ x / sqrt(ν² + ε) + β, τ)``, ν² being the mean square of a channel of a sample.

    Args:
        num_features: Number of channels.
        eps: ε, added to the mean square.
        activation: Whether the threshold is there; without it this is the norm alone.
    """

    _abbr_ = 'bn'

    def __init__(self, num_features: int, eps: float = 1e-6, activation: bool = True) -> None:
        super().__init__()
        self.num_features, self.eps = num_features, eps
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.tau = nn.Parameter(torch.zeros(num_features)) if activation else None

    def without_activation(self) -> None:
        """Takes the threshold away, where no activation followed."""
        self.tau = None

    def forward(self, x: Tensor) -> Tensor:
        """Normalizes maps (N, C, ...)."""
        shape = (1, -1, *[1] * (x.dim() - 2))
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        square = wide.square().mean(list(range(2, x.dim())), keepdim=True)  # (N, C, 1, 1)
        y = wide * ((square + self.eps).rsqrt() * self.weight.view(shape))
        y = y + self.bias.view(shape)
        return (y if self.tau is None else torch.maximum(y, self.tau.view(shape))).to(x.dtype)

    def extra_repr(self) -> str:
        return f'{self.num_features}, eps={self.eps}, activation={self.tau is not None}'


register_contestant(
    Contestant(
        name='FRN+TLU',
        layer=FRN,
        norm_cfg=dict(type='FRN', eps=1e-6),  # the paper's; mmcv would give 1e-5
        cost='Mean square of each channel of each sample; a threshold τ a channel.',
        start=dict(weight=1, bias=0, tau=0),
        deploys='It stays as it is, out of plain operators.',
        neighbours=[ACTIVATES],
    )
)
