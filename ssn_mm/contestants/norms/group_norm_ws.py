"""Group norm after convolutions with standardized weights (arXiv:1903.10520)."""

from torch import nn

from ..record import STANDARDIZES, Contestant
from ..registry import register_contestant


class GNWS(nn.GroupNorm):
    """Group norm; :func:`ssn_mm.contestants.arrange` standardizes the convolutions before it.

    Args:
        num_features: Number of channels.
        num_groups: Number of groups of channels.
        eps: Added to the variance.
        affine: Whether there are γ and β.

    Raises:
        ValueError: The groups do not divide the channels.
    """

    _abbr_ = 'bn'

    def __init__(
        self, num_features: int, num_groups: int = 32, eps: float = 1e-5, affine: bool = True
    ) -> None:
        super().__init__(num_groups, num_features, eps, affine)

    def plain_layer(self) -> nn.GroupNorm:
        """PyTorch's layer of the same parameters."""
        new = nn.GroupNorm(self.num_groups, self.num_channels, self.eps, self.affine)
        new.weight, new.bias = self.weight, self.bias
        return new.train(self.training)


register_contestant(
    Contestant(
        name='GN+WS',
        layer=GNWS,
        norm_cfg=dict(type='GNWS', num_groups=32),
        cost='As GN, and mean and variance of the weights before it in each pass.',
        start=dict(weight=1, bias=0),
        deploys="It becomes PyTorch's group norm, and the standardized weights are written down.",
        neighbours=[STANDARDIZES],
    )
)
