"""Batch norm (arXiv:1502.03167)."""

from torch import nn

from ..record import Contestant
from ..registry import register_contestant

register_contestant(
    Contestant(
        name='BN',
        layer=(nn.BatchNorm2d, nn.BatchNorm3d),
        norm_cfg=dict(type='BN'),
        norm_cfg_3d=dict(type='BN3d'),
        cost='Mean and variance of each channel over the batch; running statistics.',
        start=dict(weight=1, bias=0),
        deploys='It is folded into the convolution before it.',
        neighbours=[],
    )
)
