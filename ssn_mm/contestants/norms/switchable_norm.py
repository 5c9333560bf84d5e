"""Switchable normalization (arXiv:1806.10779): a softmax of IN, LN and BN."""

from ...layers import SN
from ..record import Contestant
from ..registry import register_contestant

register_contestant(
    Contestant(
        name='SN',
        layer=SN,
        norm_cfg=dict(type='SN'),
        cost='Mean and variance of each channel of each sample; six ratio logits a layer.',
        start=dict(weight=1, bias=0, ratio_logits=1),
        deploys='It stays an SN, since every ratio is positive.',
        neighbours=[],
        hooks=[dict(type='RatiosHook')],
    )
)
