"""Whether layers select the same normalizer with every seed, against chance."""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from ..timing.tables import Table
from .results import Results
from .suite import row_name
from .training import unpack

SHUFFLES = 10_000
ROWS = ('means', 'variances')


class Agreement(NamedTuple):
    """How often two trainings select the same normalizer at one layer.

    Attributes:
        layers: Share of the pairs of trainings that agree, of each layer, (L,).
        chance: What the average over the layers would be if each training dealt its own selections
            out to the layers by chance.
        p: How often such dealing reaches at least the average that was found.
        seeds: The number of trainings.
    """

    layers: np.ndarray
    chance: float
    p: float
    seeds: int


def agreement(selected: np.ndarray, seed: int = 0) -> Agreement:
    """Compares the selections of trainings layer by layer.

    Args:
        selected: Indices of normalizers, (S, L) of at least two trainings and L layers.
        seed: Of the dealing.
    """
    first, second = np.array(list(combinations(range(len(selected)), 2))).T
    layers = (selected[first] == selected[second]).mean(0)
    many = np.broadcast_to(selected, (SHUFFLES, *selected.shape))
    dealt = np.random.default_rng(seed).permuted(many, axis=-1)
    by_chance = (dealt[:, first] == dealt[:, second]).mean((1, 2))
    reached = int((by_chance >= layers.mean() - 1e-12).sum())  # of equal ones some are rounded down
    p = (1 + reached) / (1 + SHUFFLES)
    return Agreement(layers, float(by_chance.mean()), p, len(selected))


def agreements(results: Results) -> dict[tuple[str, str, int], tuple[Sequence[str], Agreement]]:
    """Names of layers and their agreement over the seeds, by label, variant and row.

    Row 0 is of the means, 1 of the variances. Trainings that have not selected everywhere, and
    labels with one training, are left out.
    """
    found = {}
    for variant in results.variants():
        for label in results.labels():
            own = [unpack(r['ratios']) for r in results.of(label, variant) if r['ratios']]
            last = [run.ratios[-1] for run in own if (run.ratios[-1] == 1).any(-1).all()]
            if len(last) < 2:
                continue
            chosen = np.array(last).argmax(-1)  # (S, L, 2)
            for row in range(2):
                found[label, variant, row] = own[0].layers, agreement(chosen[..., row])
    return found


def agreement_table(results: Results) -> Table:
    """Agreement over the seeds beside chance, in percent, and how many of the seeds selected."""
    lines = [
        [
            f'{row_name(label, variant)}, {ROWS[row]}',
            f'{100 * own.layers.mean():.1f}',
            f'{100 * own.chance:.1f}',
            f'{own.p:.4f}',
            f'{own.seeds} of {len(results.of(label, variant))}',
        ]
        for (label, variant, row), (_, own) in agreements(results).items()
    ]
    return Table(['percent of pairs of seeds', 'select the same', 'by chance', 'p', 'seeds'], lines)
