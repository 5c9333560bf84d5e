"""Batch norm over the batches of all processes, as PyTorch has it."""

from torch import nn

from ..record import Contestant
from ..registry import register_contestant

register_contestant(
    Contestant(
        name='SyncBN',
        layer=nn.SyncBatchNorm,
        norm_cfg=dict(type='SyncBN'),
        cost='As BN, and a message between the processes in each pass.',
        start=dict(weight=1, bias=0),
        deploys='It is folded into the convolution before it.',
        neighbours=[],
    )
)
