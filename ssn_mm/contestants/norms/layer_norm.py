"""The paper's layer norm (arXiv:1607.06450): over C, H and W, which is group norm of one group."""

from torch import nn

from ..record import Contestant
from ..registry import register_contestant

register_contestant(
    Contestant(
        name='LN',
        layer=nn.GroupNorm,
        norm_cfg=dict(type='GN', num_groups=1),
        cost='Mean and variance of each sample.',
        start=dict(weight=1, bias=0),
        deploys="It stays PyTorch's layer, which overwrites its input.",
        neighbours=[],
    )
)
