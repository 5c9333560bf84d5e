"""The published SN and SSN checkpoints, in this package's names and shapes.

Their norm layers are called sn1, sn2, ... and hold γ and β as (1, C, 1, 1), running statistics as
(1, C, 1), and ``mean_weight`` and ``var_weight``, each (3,) in the order IN, LN, BN, or (2,) where
BN was off. SSN's also hold ``mean_fixed`` and ``var_fixed``, 1 once chosen, and ``radius``, (1,).
Of a segmentation network there are two files, encoder and decoder.
"""

import logging
import re
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn

from ..layers.state import CODES, encode
from ..ops.normalizers import NORMALIZERS

_MARK = '.mean_weight'
_HEADS = (
    (r'^cbr\.0\.', 'decode_head.convs.0.conv.'),
    (r'^cbr\.1\.', 'decode_head.convs.0.bn.'),
    (r'^conv_last\.', 'decode_head.conv_seg.'),
    (r'^cbr_deepsup\.0\.', 'auxiliary_head.convs.0.conv.'),
    (r'^cbr_deepsup\.1\.', 'auxiliary_head.convs.0.bn.'),
    (r'^conv_last_deepsup\.', 'auxiliary_head.conv_seg.'),
    (r'(^|\.)sn(\d+)\.', r'\1bn\2.'),
)


def is_published(state: Mapping[str, Tensor]) -> bool:
    """Whether a state is of a published SN or SSN."""
    return any(key.endswith(_MARK) for key in state)


def from_published(
    state: Mapping[str, Tensor], num_batches: int | None = None, correction: int = 1
) -> dict[str, Tensor]:
    """Translates a published state; what is none comes back as it is.

    SN's logits stay SN's, see ``ssn_mm.SSN`` for what it makes of them. A row that was fixed
    becomes its vertex: momentum moved the published one on, away from what it is to mean.

    Args:
        state: By name, 'module.' in front or not.
        num_batches: Running statistics are sums over so many batches, of means and of mean
            squares ("batch average" before it was divided); None: they are statistics.
        correction: Of the layers, see ``ssn_mm.SSN``; 1 is what they were trained with.

    Returns:
        The state under torchvision's names; of a decoder under mmsegmentation's.

    Raises:
        ValueError: A layer lacks a part; or its statistics are no sums over ``num_batches``.
    """
    state = {key.removeprefix('module.'): value for key, value in state.items()}
    if not is_published(state):
        return state
    drifted = 0.0
    for layer in [key.removesuffix('.mean_weight') for key in state if key.endswith(_MARK)]:
        if f'{layer}.var_weight' not in state:
            raise ValueError(f'the published layer {layer} has mean_weight and no var_weight')
        rows = [state.pop(f'{layer}.{row}_weight').float() for row in ('mean', 'var')]
        fixed = [state.pop(f'{layer}.{row}_fixed', torch.zeros(1)) for row in ('mean', 'var')]
        for index, row in enumerate(rows):
            if fixed[index].item():
                rows[index] = nn.functional.one_hot(row.argmax(), len(row)).to(row)
                drifted = max(drifted, (rows[index] - row).abs().max().item())
        state[f'{layer}.ratio_logits'] = torch.stack(rows)
        state[f'{layer}.{CODES}'] = encode(
            NORMALIZERS[: len(rows[0])], 0, sparse=f'{layer}.radius' in state
        )
        if f'{layer}.radius' in state:
            state[f'{layer}.radius'] = state[f'{layer}.radius'].float().view(())
        for name in ('weight', 'bias', 'running_mean', 'running_var'):
            if f'{layer}.{name}' in state:
                state[f'{layer}.{name}'] = state[f'{layer}.{name}'].flatten()
        if num_batches is not None and f'{layer}.running_mean' in state:
            sums = (state[f'{layer}.running_{name}'].double() for name in ('mean', 'var'))
            mean, square = (t / num_batches for t in sums)
            if (square < mean.square()).any():
                raise ValueError(
                    f'{layer} has mean squares below squared means with num_batches={num_batches}: '
                    'its statistics are no such sums, or of another number of batches'
                )
            state[f'{layer}.running_mean'] = mean.float()
            state[f'{layer}.running_var'] = (square - mean.square()).float()
        if correction:
            state[f'{layer}.correction'] = torch.tensor(correction)
    if drifted > 1e-3:
        print_log(
            f'Ratios that were fixed had drifted by up to {drifted:.3f} from their one-hot, which '
            'they are again',
            'current',
            logging.WARNING,
        )
    return {_rename(key): value for key, value in state.items()}


def PublishedResNet(**options: Any) -> nn.Module:  # noqa: N802, a type in configs
    """The ResNet of the config's library with the max pooling of the published SSN ResNet.

    That one does not pad and rounds up, so features lie a pixel further; published SN's is as
    everybody's. ``backbone=dict(type='PublishedResNet')`` takes all options of 'ResNet'.
    """
    scope = DefaultScope.get_current_instance()
    name = 'ResNet' if scope is None else f'{scope.scope_name}.ResNet'
    backbone = MODELS.build(dict(type=name, **options))
    backbone.maxpool = nn.MaxPool2d(3, 2, padding=0, ceil_mode=True)
    return backbone


def _rename(key: str) -> str:
    for pattern, name in _HEADS:
        key = re.sub(pattern, name, key)
    return key
