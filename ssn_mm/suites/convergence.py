"""Whether trainings have converged: what the same ones gain if they are twice as long.

The schedule is stretched with them: a rate that falls flattens any curve, so that a flat end alone
proves nothing.
"""

from typing import NamedTuple

import numpy as np

from ..timing.tables import Table
from .results import Results

LEAST = 1.0  # gain of the mean over the seeds, in the metric's units, that is too much
MARK = '*'  # beside the number of what has not converged


class Gain(NamedTuple):
    """What a training gains if it is twice as long.

    Attributes:
        mean: Mean over the seeds that were trained at both lengths, positive for better.
        seeds: How many these are.
    """

    mean: float
    seeds: int

    @property
    def converged(self) -> bool:
        """Whether the gain is below a point; losing is no gain."""
        return self.mean < LEAST


def gain(results: Results, label: str, variant: str) -> Gain | None:
    """The gain of a config; None where no seed was trained at both lengths."""
    if results.twice is None:
        return None
    short, long = results.by_seed(label, variant), results.twice.by_seed(label, variant)
    sign = -1 if results.rule == 'less' else 1
    gains = [sign * (long[seed] - short[seed]) for seed in short.keys() & long.keys()]
    return Gain(float(np.mean(gains)), len(gains)) if gains else None


def mark(results: Results, label: str, variant: str) -> str:
    """What stands behind a number: a mark for what has not converged, '?' for what is unchecked."""
    if not results.longer:
        return ''
    own = gain(results, label, variant)
    return ' ?' if own is None else '' if own.converged else f' {MARK}'


def not_converged(results: Results, label: str, variant: str) -> bool:
    """Whether a config is known not to have converged."""
    own = gain(results, label, variant)
    return own is not None and not own.converged


def convergence_table(results: Results) -> Table:
    """What each label gains at twice the length, by variant, and whether it has converged."""
    variants = results.variants()
    lines = []
    for label in results.labels():
        gains = {v: own for v in variants if (own := gain(results, label, v))}
        cells = [
            f'{gains[v].mean:+.2f} ({gains[v].seeds} seeds)' if v in gains else None
            for v in variants
        ]
        late = [v for v, own in gains.items() if not own.converged]
        told = f'not {", ".join(late)}' if late else 'yes'
        if len(gains) < len(variants):
            told = 'not checked'
        elif len(late) == len(variants):
            told = 'no'
        lines.append([label, *cells, told])
    return Table([results.variant or 'gain', *variants, 'converged'], lines)
