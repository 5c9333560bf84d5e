"""Instance norm (arXiv:1607.08022) with γ and β."""

from torch import nn

from ..record import Contestant
from ..registry import register_contestant

register_contestant(
    Contestant(
        name='IN',
        layer=(nn.InstanceNorm2d, nn.InstanceNorm3d),
        norm_cfg=dict(type='IN', affine=True),
        norm_cfg_3d=dict(type='IN3d', affine=True),
        cost='Mean and variance of each channel of each sample.',
        start=dict(weight=1, bias=0),
        deploys="It stays PyTorch's layer, which overwrites its input.",
        neighbours=[],
    )
)
