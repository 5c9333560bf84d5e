"""Whether a difference between two configs is more than the scatter of their seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ..timing.tables import Table
from .results import Results
from .training import average_ratio, unpack

LEVEL = 0.05


@dataclass(frozen=True)
class Difference:
    """The difference of two means over seeds, by Welch's t-test.

    Attributes:
        mean: First minus second.
        low: Lower end of the 95 % confidence interval.
        high: Upper end of the 95 % confidence interval.
        p: Two-sided p-value.
    """

    mean: float
    low: float
    high: float
    p: float


def compare(first: Sequence[float], second: Sequence[float]) -> Difference | None:
    """Compares values over seeds; None if one side has fewer than two, or neither scatters."""
    if min(len(first), len(second)) < 2 or np.std(first) + np.std(second) == 0:
        return None
    test = stats.ttest_ind(first, second, equal_var=False)
    interval = test.confidence_interval(1 - LEVEL)
    mean = float(np.mean(first) - np.mean(second))
    return Difference(mean, float(interval.low), float(interval.high), float(test.pvalue))


def holm(p: Sequence[float]) -> list[float]:
    """p-values corrected for their number by Holm's method.

    statsmodels has it, too, but brings pandas and patsy; SciPy has other corrections alone.
    """
    order = np.argsort(p)
    corrected = np.maximum.accumulate(np.array(p)[order] * np.arange(len(p), 0, -1))
    found = np.empty(len(p))
    found[order] = np.minimum(corrected, 1)
    return found.tolist()


def differences(results: Results, label: str) -> dict[tuple[str, str], Difference]:
    """The main metric of ``label`` against every other label, by label and variant."""
    found = {}
    for variant in results.variants():
        for other in results.labels():
            own = compare(results.values(label, variant), results.values(other, variant))
            if other != label and own is not None:
                found[other, variant] = own
    return found


def trend(results: Results, label: str, normalizer: str) -> tuple[float, float, int] | None:
    """How a normalizer's average ratio at the end goes with variants that are numbers.

    Returns:
        Spearman's rank correlation over all runs, its two-sided p, the number of runs; None where
        variants are not at least three numbers, or no ratio changes.
    """
    try:
        sizes = {variant: float(variant) for variant in results.variants()}
    except ValueError:
        return None
    points = [
        (sizes[variant], average_ratio(unpack(row['ratios']), normalizer))
        for variant in sizes
        for row in results.of(label, variant)
        if row['ratios']
    ]
    if len({size for size, _ in points}) < 3 or len({ratio for _, ratio in points}) < 2:
        return None
    test = stats.spearmanr(*zip(*points, strict=True))
    return float(test.statistic), float(test.pvalue), len(points)


def difference_table(results: Results, label: str) -> Table:
    """Differences of ``label`` to the others, with intervals and p-values.

    These are corrected for the number of others, each variant being an experiment of its own.
    """
    found = differences(results, label)
    corrected: dict[tuple[str, str], float] = {}
    for variant in results.variants():
        cases = [case for case in found if case[1] == variant]
        corrected |= zip(cases, holm([found[case].p for case in cases]), strict=True)
    lines = []
    for (other, variant), own in found.items():
        p = corrected[other, variant]
        verdict = 'no difference shown'
        if p < LEVEL:
            verdict = f'{label} better' if results.is_better(own.mean, 0) else f'{label} worse'
        name = f'{label} - {other}' + (f', {variant}' if variant else '')
        interval = f'{own.low:+.2f} to {own.high:+.2f}'
        lines.append([name, f'{own.mean:+.2f}', interval, f'{own.p:.3f}', f'{p:.3f}', verdict])
    head = [results.main_and_rule, 'difference', '95 % interval', 'p', 'p, Holm', 'at 5 %']
    return Table(head, lines)
