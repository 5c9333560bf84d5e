"""Counts and describes what SN and SSN layers have selected."""

import re
from collections import Counter
from collections.abc import Mapping

import torch

from .switch_norm import SwitchNorm


def count_selected(layers: Mapping[str, SwitchNorm], ratios: list) -> Counter:
    """Counts the rows of all layers that have selected each normalizer, of none of them as 0.

    Args:
        layers: SN or SSN layers by name.
        ratios: Their ratios as nested lists, in the same order, see :func:`layer_ratios`.
    """
    counts = Counter({name: 0 for layer in layers.values() for name in layer.normalizers})
    for layer, rows in zip(layers.values(), ratios, strict=True):
        counts.update(layer.normalizers[row.index(1.0)] for row in rows if 1.0 in row)
    return counts


def selection_by_stage(layers: Mapping[str, SwitchNorm], ratios: list) -> list[str]:
    """Describes what the rows have selected, a line a stage: 'layer1  means BBLI  variances ...'.

    A letter stands for a row: the first of its normalizer's name, or a dot while it competes.

    Args:
        layers: SN or SSN layers by name.
        ratios: Their ratios as nested lists, in the same order, see :func:`layer_ratios`.
    """
    bars: dict[str, tuple[list[str], list[str]]] = {}
    for (name, layer), rows in zip(layers.items(), ratios, strict=True):
        for bar, row in zip(bars.setdefault(stage_of(name), ([], [])), rows, strict=True):
            bar.append(layer.normalizers[row.index(1.0)][0] if 1.0 in row else '.')
    order = ''.join(dict.fromkeys(n[0] for m in layers.values() for n in m.normalizers)) + '.'
    width = max(map(len, bars))
    most = max(len(means) for means, _ in bars.values())
    return [
        f'  {stage.ljust(width)}  means {"".join(sorted(means, key=order.index)).ljust(most)}'
        f'  variances {"".join(sorted(variances, key=order.index))}'
        for stage, (means, variances) in bars.items()
    ]


@torch.no_grad()
def layer_ratios(layers: Mapping[str, SwitchNorm]) -> list:
    """Ratios of all layers as nested lists, with a single transfer from the device."""
    ratios = [layer.ratios().flatten() for layer in layers.values()]
    # a network may lie on several GPUs
    flat = iter(torch.cat([p.to(ratios[0].device) for p in ratios]).tolist())
    return [
        [[next(flat) for _ in layer.normalizers] for _ in range(2)] for layer in layers.values()
    ]


def block_of(layer: str) -> str:
    """Name of the block that a layer lies in: 'backbone.layer1.0' of 'backbone.layer1.0.bn1'.

    It ends at the first number between dots; without a number, it is the first word.
    """
    words = layer.split('.')
    numbers = [i for i, word in enumerate(words[:-1]) if word.isdigit()]
    return '.'.join(words[: numbers[0] + 1]) if numbers else words[0]


def stage_of(layer: str) -> str:
    """Name of the stage that a layer lies in, which is its block's without the number."""
    return re.sub(r'\.\d+$', '', block_of(layer))
