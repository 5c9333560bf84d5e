"""Group norm (arXiv:1803.08494)."""

from torch import nn

from ..record import Contestant
from ..registry import register_contestant

register_contestant(
    Contestant(
        name='GN',
        layer=nn.GroupNorm,
        norm_cfg=dict(type='GN', num_groups=32),
        cost='Mean and variance of each group of channels of each sample.',
        start=dict(weight=1, bias=0),
        deploys="It stays PyTorch's layer, which overwrites its input.",
        neighbours=[],
    )
)
