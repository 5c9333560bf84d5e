"""Layer norm over the channels of each position, as ConvNeXt has it: PyTorch's ``nn.LayerNorm``."""

from torch import Tensor, nn

from ..record import Contestant
from ..registry import register_contestant


class ChannelLN(nn.LayerNorm):
    """``nn.LayerNorm`` over the channels of maps (N, C, ...)."""

    _abbr_ = 'bn'

    def forward(self, input: Tensor) -> Tensor:
        """Normalizes maps (N, C, ...)."""
        return super().forward(input.movedim(1, -1)).movedim(-1, 1)


register_contestant(
    Contestant(
        name='ChannelLN',
        layer=ChannelLN,
        norm_cfg=dict(type='ChannelLN'),
        cost='Mean and variance of the channels at each position.',
        start=dict(weight=1, bias=0),
        deploys='It stays as it is, out of plain operators.',
        neighbours=[],
    )
)
