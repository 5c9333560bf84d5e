"""The checkpoints of the paper's authors, SN's and SSN's, in this package's names and shapes.

In their files norm layers are called sn1, sn2, ... A layer holds γ and β as (1, C, 1, 1), running
statistics as (1, C, 1), and its logits as ``mean_weight`` and ``var_weight``, each (3,) in the
order IN, LN, BN, or (2,) where BN was off. A layer of SSN also holds ``mean_fixed`` and
``var_fixed``, which are 1 once that row is selected, and ``radius``, (1,). A segmentation network
comes in two files, encoder and decoder.
"""

import logging
import re
from collections.abc import Mapping

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from ..layers.state import CODES, encode
from ..ops.normalizers import NORMALIZERS

_MARK = '.mean_weight'
# the parts of the authors' decoder, and their norm layers, under the libraries' names
_NAMES = (
    (r'^cbr\.0\.', 'decode_head.convs.0.conv.'),
    (r'^cbr\.1\.', 'decode_head.convs.0.bn.'),
    (r'^conv_last\.', 'decode_head.conv_seg.'),
    (r'^cbr_deepsup\.0\.', 'auxiliary_head.convs.0.conv.'),
    (r'^cbr_deepsup\.1\.', 'auxiliary_head.convs.0.bn.'),
    (r'^conv_last_deepsup\.', 'auxiliary_head.conv_seg.'),
    (r'(^|\.)sn(\d+)\.', r'\1bn\2.'),
)


def is_authors(state: Mapping[str, Tensor]) -> bool:
    """Whether a state is of an authors' checkpoint of SN or SSN."""
    return any(key.endswith(_MARK) for key in state)


def from_authors(state: Mapping[str, Tensor], num_batches: int | None = None) -> dict[str, Tensor]:
    """Translates the state of an authors' checkpoint; any other state comes back unchanged.

    SN's logits stay SN's; an SSN that loads them turns them into its own. A row that was fixed
    is its vertex, whatever its logits say: the authors' code puts it there and leaves it out of
    each step, another optimizer's momentum might have moved it on. Every layer gets
    ``correction``, the unbiased variance that it was trained with.

    Args:
        state: Tensors by name, with or without 'module.' in front.
        num_batches: How many batches the running statistics are sums over, of means and of mean
            squares: the authors' "batch average" before it was divided. None where they are
            statistics already.

    Returns:
        The state under torchvision's names; that of a decoder under mmsegmentation's.

    Raises:
        ValueError: A layer lacks a part, or its statistics cannot be sums over ``num_batches``.
    """
    state = {key.removeprefix('module.'): value for key, value in state.items()}
    if not is_authors(state):
        return state
    drifts = [0.0]
    for layer in [key.removesuffix(_MARK) for key in state if key.endswith(_MARK)]:
        logits, drift = _pop_logits(state, layer)
        drifts.append(drift)
        sparse = f'{layer}.radius' in state
        state[f'{layer}.ratio_logits'] = logits
        state[f'{layer}.{CODES}'] = encode(NORMALIZERS[: logits.size(1)], 0, int(sparse))
        state[f'{layer}.correction'] = torch.tensor(1)
        if sparse:
            state[f'{layer}.radius'] = state[f'{layer}.radius'].float().view(())
        for name in ('weight', 'bias', 'running_mean', 'running_var'):
            if f'{layer}.{name}' in state:
                state[f'{layer}.{name}'] = state[f'{layer}.{name}'].flatten()
        if num_batches is not None and f'{layer}.running_mean' in state:
            _divide_sums(state, layer, num_batches)
    if max(drifts) > 1e-3:
        print_log(
            f'Ratios that were fixed had drifted by up to {max(drifts):.3f} from their one-hot, '
            'which they are again',
            'current',
            logging.WARNING,
        )
    return {_renamed(key): value for key, value in state.items()}


def _pop_logits(state: dict[str, Tensor], layer: str) -> tuple[Tensor, float]:
    """Takes a layer's logits out of a state.

    Returns:
        The logits (2, K), fixed rows on their vertex, and how far the farthest was from it.
    """
    if f'{layer}.var_weight' not in state:
        raise ValueError(f"the authors' layer {layer} has mean_weight and no var_weight")
    rows, drift = [], 0.0
    for name in ('mean', 'var'):
        row = state.pop(f'{layer}.{name}_weight').float()
        if state.pop(f'{layer}.{name}_fixed', torch.zeros(1)).item():
            vertex = nn.functional.one_hot(row.argmax(), len(row)).to(row)
            drift = max(drift, (vertex - row).abs().max().item())
            row = vertex
        rows.append(row)
    return torch.stack(rows), drift


def _divide_sums(state: dict[str, Tensor], layer: str, num_batches: int) -> None:
    """Puts running statistics in the place of a layer's sums over batches."""
    mean, square = (
        state[f'{layer}.running_{name}'].double() / num_batches for name in ('mean', 'var')
    )
    if (square < mean.square()).any():
        raise ValueError(
            f'{layer} has mean squares below squared means with num_batches={num_batches}: '
            'its statistics are no such sums, or of another number of batches'
        )
    state[f'{layer}.running_mean'] = mean.float()
    state[f'{layer}.running_var'] = (square - mean.square()).float()


def _renamed(key: str) -> str:
    for pattern, name in _NAMES:
        key = re.sub(pattern, name, key)
    return key
