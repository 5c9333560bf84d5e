"""Whether trainings have converged: what the same ones gain if they are twice as long.

The schedule is stretched with them: a rate that falls flattens any curve, so that a flat end alone
proves nothing.
"""

from typing import NamedTuple

import numpy as np

from ..timing.tables import Table
from .results import Results

LEAST = 1.0  # gain of the mean over the seeds, in points of the metric, that is too much
SEEDS = 2  # at least, of which the mean tells anything
MARK = '*'  # beside the number of what has not converged
UNCHECKED = '?'  # beside the number of what was not trained longer, or with one seed alone


class Gain(NamedTuple):
    """What a training gains if it is twice as long.

    Attributes:
        mean: Mean over the seeds that were trained at both lengths, positive for better.
        low: The least of these seeds.
        high: The most of them.
        seeds: How many these are.
    """

    mean: float
    low: float
    high: float
    seeds: int

    @property
    def converged(self) -> bool | None:
        """Whether the mean gain is below a point of the metric; None where one seed says nothing.

        Losing is no gain. A point suits a metric in percent. Of a loss, or of a metric between 0
        and 1, it is so much that this says little.
        """
        return None if self.seeds < SEEDS else self.mean < LEAST


def gain(results: Results, label: str, variant: str) -> Gain | None:
    """The gain of a config; None where no seed was trained at both lengths."""
    if results.twice is None:
        return None
    short, long = results.by_seed(label, variant), results.twice.by_seed(label, variant)
    sign = -1 if results.rule == 'less' else 1
    gains = [sign * (long[seed] - short[seed]) for seed in short.keys() & long.keys()]
    if not gains:
        return None
    return Gain(float(np.mean(gains)), min(gains), max(gains), len(gains))


def has_converged(results: Results, label: str, variant: str) -> bool | None:
    """Whether a config has converged; None where too few seeds were trained at both lengths."""
    own = gain(results, label, variant)
    return own and own.converged


def mark(results: Results, label: str, variant: str) -> str:
    """What stands behind a number: a mark for what has not converged, '?' for what is unchecked."""
    if not results.longer:
        return ''
    return {None: f' {UNCHECKED}', True: '', False: f' {MARK}'}[
        has_converged(results, label, variant)
    ]


def convergence_table(results: Results) -> Table:
    """What each label gains at twice the length, by variant, and whether it has converged.

    Cells have the mean over the seeds and their range. A label has converged where its mean gain is
    below :data:`LEAST`, in points of the metric; variants of which that is not so, or not checked,
    are named.
    """
    variants = results.variants()
    lines = []
    for label in results.labels():
        there = [v for v in variants if results.of(label, v)]
        gains = {v: own for v in there if (own := gain(results, label, v))}
        known = {v: own.converged for v, own in gains.items()}
        late = [v for v in there if known.get(v) is False]
        unchecked = [v for v in there if known.get(v) is None]
        told = []
        if late:
            told.append(f'not {", ".join(late)}' if late != there else 'no')
        if unchecked:
            told.append(
                'not checked' if unchecked == there else f'not checked {", ".join(unchecked)}'
            )
        cells = [_gained(gains[v]) if v in gains else None for v in variants]
        lines.append([label, *cells, '; '.join(told) or 'yes'])
    return Table([results.variant or 'gain', *variants, 'converged'], lines)


def _gained(own: Gain) -> str:
    """'+0.30 (-0.10 to +0.70, 3 seeds)'."""
    return f'{own.mean:+.2f} ({own.low:+.2f} to {own.high:+.2f}, {own.seeds} seeds)'
