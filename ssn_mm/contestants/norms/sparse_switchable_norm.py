"""Sparse switchable normalization (arXiv:1903.03793): SparsestMax selects one normalizer."""

from ...layers import SSN
from ..record import Contestant
from ..registry import register_contestant

register_contestant(
    Contestant(
        name='SSN',
        layer=SSN,
        norm_cfg=dict(type='SSN'),
        cost='Mean and variance of each channel of each sample; six ratio logits a layer.',
        start=dict(weight=1, bias=0, ratio_logits=1),
        deploys='It becomes what it selected; where that is BN, it is folded.',
        neighbours=[],
        hooks=[dict(type='SSNRadiusHook', schedule='linear')],
    )
)
