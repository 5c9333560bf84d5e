"""Root mean square norm (arXiv:1910.07467) over the channels of each position: ``nn.RMSNorm``."""

from torch import Tensor, nn

from ..record import Contestant
from ..registry import register_contestant


class ChannelRMS(nn.RMSNorm):
    """``nn.RMSNorm`` over the channels of maps (N, C, ...); it has no β."""

    _abbr_ = 'bn'

    def forward(self, x: Tensor) -> Tensor:
        """Normalizes maps (N, C, ...)."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


register_contestant(
    Contestant(
        name='RMSNorm',
        layer=ChannelRMS,
        norm_cfg=dict(type='ChannelRMS'),
        cost='Mean square of the channels at each position; no β.',
        start=dict(weight=1),
        deploys='It stays as it is, out of plain operators.',
        neighbours=[],
    )
)
