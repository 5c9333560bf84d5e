"""Whether a difference between two configs is more than the scatter of their seeds.

Seeds are pairs: the same seed draws the same order of the data, and the same weights where networks
have the same. What both sides of a pair share cancels in its difference.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from ..timing.tables import Table
from .convergence import UNCHECKED, has_converged
from .results import Results
from .suite import row_name
from .training import average_ratio, unpack

LEVEL = 0.05
EQUAL = 1e-9  # differences that are no farther apart are the same number, rounded


@dataclass(frozen=True)
class Difference:
    """The mean difference of pairs of trainings, by Student's t-test of it.

    Attributes:
        mean: First minus second.
        low: Lower end of the 95 % confidence interval.
        high: Upper end of the 95 % confidence interval.
        p: Two-sided p-value; 1 where the differences do not scatter, so that nothing tests them.
        pairs: The number of seeds that both have.
    """

    mean: float
    low: float
    high: float
    p: float
    pairs: int

    @property
    def scatters(self) -> bool:
        """Whether the pairs have different differences."""
        return self.low < self.high


def compare(first: Mapping[Any, float], second: Mapping[Any, float]) -> Difference | None:
    """Compares values by seed; None if fewer than two have both.

    Of differences that are all the same, or not all numbers, both ends are the mean.
    """
    seeds = sorted(first.keys() & second.keys())
    own = np.array([first[seed] - second[seed] for seed in seeds])
    if len(own) < 2:
        return None
    mean = float(own.mean())
    if not np.isfinite(own).all() or np.ptp(own) < EQUAL:
        return Difference(mean, mean, mean, 1.0, len(own))
    test = stats.ttest_1samp(own, 0)
    interval = test.confidence_interval(1 - LEVEL)
    ends = float(interval.low), float(interval.high)
    return Difference(mean, *ends, float(test.pvalue), len(own))


def of_splits(own: Difference, splits: int) -> Difference:
    """A difference whose pairs are splits of one data set, which train on much of the same.

    Nadeau and Bengio (Machine Learning 52, 2003) add the ratio of test to training data to 1/n in
    the variance of a mean of n: here 1/(splits - 1), since each split tests on one part.
    """
    wider = math.sqrt(1 + own.pairs / (splits - 1))
    low, high = (own.mean + wider * (end - own.mean) for end in (own.low, own.high))
    t = stats.t.isf(own.p / 2, own.pairs - 1) / wider
    return replace(own, low=low, high=high, p=float(2 * stats.t.sf(t, own.pairs - 1)))


def paired(
    results: Results, first: Mapping[Any, float], second: Mapping[Any, float]
) -> Difference | None:
    """:func:`compare`, and :func:`of_splits` where the seeds of these results are splits."""
    own = compare(first, second)
    return of_splits(own, results.splits) if own and results.splits else own


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
            own = paired(results, results.by_seed(label, variant), results.by_seed(other, variant))
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


def reference(results: Results) -> str:
    """The label that others are compared with: the suite's, else SSN, else the first there is."""
    labels = results.labels()
    known = (label for label in (results.reference, 'SSN') if label in labels)
    return next(known, labels[0])


def hindrances(results: Results, label: str, other: str, variant: str) -> dict[str, str]:
    """Which of two labels are not fit for comparison, and why: {'BN': 'not converged'}."""
    found = {}
    for name in (label, other):
        if not np.isfinite(list(results.by_seed(name, variant).values())).all():
            found[name] = 'not finite'
        elif has_converged(results, name, variant) is False:
            found[name] = 'not converged'
    return found


def doubt(results: Results, label: str, other: str, variant: str) -> str:
    """' ?' where a suite is named as ``longer``, but says nothing of a label; else ''."""
    known = [has_converged(results, name, variant) is not None for name in (label, other)]
    return f' {UNCHECKED}' if results.longer and not all(known) else ''


class Compared(NamedTuple):
    """A difference of a table.

    Attributes:
        difference: What was found.
        hindrances: Which of the two are not compared, and why, see :func:`hindrances`.
        p: The p-value corrected by Holm for all that are compared in the table; 1 if not compared.
        doubt: What stands behind it, see :func:`doubt`.
    """

    difference: Difference
    hindrances: Mapping[str, str]
    p: float
    doubt: str


def compared(results: Results, label: str) -> dict[tuple[str, str], Compared]:
    """All differences of ``label`` to the others, by label and variant."""
    found = differences(results, label)
    wrong = {case: hindrances(results, label, *case) for case in found}
    fit = [case for case in found if not wrong[case]]
    corrected = dict(zip(fit, holm([found[case].p for case in fit]), strict=True))
    return {
        case: Compared(own, wrong[case], corrected.get(case, 1.0), doubt(results, label, *case))
        for case, own in found.items()
    }


def difference_table(results: Results, label: str) -> Table:
    """Differences of ``label`` to the others: intervals first, then p-values.

    These are corrected for the number of differences in the whole table. A config that has not
    converged, or has values that are no finite numbers, is named and not compared; '?' marks what
    was not checked for convergence.
    """
    lines: list[list[object]] = []
    for (other, variant), (own, wrong, p, doubtful) in compared(results, label).items():
        name = row_name(f'{label} - {other}', variant)
        if wrong:
            told = ', '.join(f'{who} {why}' for who, why in wrong.items())
            lines.append([name, None, None, own.pairs, None, None, f'not compared: {told}'])
            continue
        verdict = 'no difference shown' if own.scatters else 'the same in all pairs, not tested'
        if p < LEVEL:
            verdict = f'{label} better' if results.is_better(own.mean, 0) else f'{label} worse'
        interval = f'{own.low:+.2f} to {own.high:+.2f}'
        numbers = [f'{own.mean:+.2f}', interval, own.pairs, f'{own.p:.3f}', f'{p:.3f}']
        lines.append([name, *numbers, verdict + doubtful])
    interval = results.interval
    head = [results.main_and_rule, 'difference', interval, 'pairs', 'p', 'p, Holm', 'at 5 %']
    return Table(head, lines)


def difference_grid(results: Results, label: str) -> Table:
    """The same differences in short: a line for each other label, a column for each variant.

    Cells of fewer seeds than others say so.
    """
    found = compared(results, label)
    variants = list(dict.fromkeys(variant for _, variant in found))
    pairs = {own.difference.pairs for own in found.values()}
    lines: list[list[object]] = []
    for other in dict.fromkeys(other for other, _ in found):
        own = [found.get((other, variant)) for variant in variants]
        lines.append([f'{label} - {other}', *(each and _cell(each, max(pairs)) for each in own)])
    seeds = f'{min(pairs)} to {max(pairs)} seeds' if len(pairs) > 1 else f'{min(pairs)} seeds'
    told = f'{results.title}, {seeds}' + (', Nadeau-Bengio' if results.splits else '')
    return Table(
        [told, *(f'{v} {results.variant}' if v else results.main for v in variants)], lines
    )


def _cell(case: Compared, most: int) -> str:
    """'**+5.0** (+4.3 to +5.7)', with the number of pairs where others have more."""
    own, wrong, p, doubtful = case
    if wrong:
        return ', '.join(dict.fromkeys(wrong.values()))
    mean = f'**{own.mean:+.1f}**' if p < LEVEL else f'{own.mean:+.1f}'
    few = f', {own.pairs} seeds' if own.pairs < most else ''
    return f'{mean} ({own.low:+.1f} to {own.high:+.1f}{few}){doubtful}'
