"""Tables of results, in Markdown."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..ops.normalizers import NORMALIZERS
from ..timing.tables import Table
from .agreement import agreement_table
from .convergence import LEAST, MARK, UNCHECKED, convergence_table, mark
from .provenance import LIBRARIES
from .results import Results
from .significance import (
    difference_grid,
    difference_table,
    differences,
    paired,
    reference,
    trend,
)
from .suite import row_name
from .training import average_ratio, unpack

AGAINST = ' against the others'  # ends the title of a label's table of differences


def tables(results: Results, against: Iterable[str] = ()) -> dict[str, tuple[Table, str]]:
    """All tables that there is data for, each with a note about it, by title.

    Args:
        results: The results.
        against: Labels to compare with all others, beside :func:`.significance.reference`.

    Raises:
        ValueError: No run is done.
    """
    if not results.done:
        raise ValueError(f'no run of {results.name} is done, there is nothing to show')
    found = {}
    less = f'; less {results.main} is better' if results.rule == 'less' else ''
    unchecked = f'; {UNCHECKED}: convergence was not checked' if results.longer else ''
    if any(results.variants()):
        note = f'Mean ± standard deviation over the seeds{less}.'
        if results.paper:
            note += " The paper's are of its own data and network, not measured here."
        found[f'{results.main} by {results.variant or "variant"}'] = (variant_table(results), note)
    for label in dict.fromkeys((reference(results), *against)):
        if not differences(results, label):
            continue
        found[f'{label}{AGAINST}'] = (
            difference_table(results, label),
            'Differences of trainings with the same seed, that is the same order of the data, with '
            "Student's t-test of their mean; Holm's correction for all lines of the table"
            f'{unchecked}{less}.',
        )
        found[f'{label} minus the others'] = (
            difference_grid(results, label),
            f'Mean differences in {results.main} of trainings with the same seed, and 95 % '
            'intervals. Bold passes at 5 %, corrected by Holm for the whole table; what has not '
            f'converged is not compared{unchecked}{less}.',
        )
    if results.longer:
        found['Convergence'] = (
            convergence_table(results),
            'What the mean over the seeds gains if trainings are twice as long, in points of '
            f'{results.main}, and the range of the seeds; converged: less than {LEAST:g}. '
            f'Elsewhere {MARK} marks what has not, {UNCHECKED} what was not checked.',
        )
    if any(row['ratios'] for row in results.done):
        found['Average importance ratios'] = (ratio_table(results), _trends(results))
    if (own := ratio_change_table(results)).cells[1:]:
        found['Changes of average ratios'] = (
            own,
            'Differences of the average over the layers, in points, between trainings with the '
            'same seed, and their 95 % intervals.',
        )
    if (own := agreement_table(results)).cells[1:]:
        found['Agreement of selections'] = (
            own,
            'Pairs of seeds that select the same normalizer at a layer, averaged over the layers; '
            'by chance: each training has its selections dealt out to the layers anew. Those that '
            'have not selected everywhere are left out.',
        )
    found['All runs'] = (
        main_table(results),
        f'Mean ± standard deviation over the seeds{less}; one-hot: share of rows, per seed.',
    )
    return found


def fill_page(page: str, results: Results) -> str:
    """A page with tables between ``<!-- NAME: TITLE -->`` and ``<!-- end -->``.

    Args:
        page: Markdown.
        results: Those whose tables are put in, NAME being theirs.

    Raises:
        ValueError: A title is none of :func:`tables`, where any label may be compared with the
            others, or the page has no place for these results.
    """
    places = re.compile(
        rf'(<!-- {re.escape(results.name)}: (.+?) -->\n).*?(<!-- end -->)', re.DOTALL
    )
    asked = [title for _, title, _ in places.findall(page)]
    known = tables(results, [own for own in results.labels() if f'{own}{AGAINST}' in asked])
    if wrong := [title for title in asked if title not in known]:
        raise ValueError(f'no table {wrong[0]!r}; there are {", ".join(known)}')
    if not asked:
        raise ValueError(
            f'the page has no <!-- {results.name}: TITLE --> with <!-- end --> after it; '
            f'TITLE may be {", ".join(known)}'
        )
    return places.sub(lambda m: f'{m[1]}\n{known[m[2]][0]}\n\n{m[3]}', page)


def spread(values: Sequence[float]) -> str | None:
    """'97.03 ± 0.15', mean and standard deviation; None without values."""
    if not values:
        return None
    deviation = f' ± {np.std(values, ddof=1):.2f}' if len(values) > 1 else ''
    return f'{np.mean(values):.2f}{deviation}'


def main_table(results: Results) -> Table:
    """Metrics, mean ± standard deviation over the seeds, beside the paper's; costs, selection.

    The main metric has a mark if it has not converged.
    """
    reported = max(map(len, results.paper.values()), default=0)
    paper = [f"the paper's {name}" for name in results.metrics[:reported]]
    head = ['', *results.metrics, *paper, 'seeds', 'ms/iteration', 'MiB', 'minutes', 'one-hot']
    lines = []
    for label, variant in _pairs(results):
        own, name = results.of(label, variant), row_name(label, variant)
        known = results.paper.get(name, [None] * reported)
        ratios = [unpack(row['ratios']) for row in own if row['ratios']]
        lines.append(
            [
                name,
                *(_marked(results, label, variant, metric) for metric in results.metrics),
                *map(_plain, known),
                len(own),
                _mean([row['seconds_per_iteration'] for row in own], 1e3),
                _mean([row['memory'] for row in own]),
                _mean([row.get('seconds') for row in own], 1 / 60),
                ', '.join(f'{_one_hot(r):.0%}'.replace('%', ' %') for r in ratios) or None,
            ]
        )
    return Table(head, lines)


def variant_table(results: Results) -> Table:
    """The main metric by label (lines) and variant (columns), the paper's lines below."""
    variants = results.variants()
    lines: list[list[object]] = [
        [label, *(_marked(results, label, variant, results.main) for variant in variants)]
        for label in results.labels()
    ]
    for label in results.labels() if results.paper else []:
        known = [results.paper.get(row_name(label, v), [None])[0] for v in variants]
        if any(known):
            lines.append([f"{label}, the paper's", *map(_plain, known)])
    return Table([results.variant or results.main, *variants], lines)


def _marked(results: Results, label: str, variant: str, metric: str) -> str | None:
    """Mean ± deviation of a metric, and a mark if it is the main one and has not converged."""
    own = spread(results.values(label, variant, metric))
    return own and own + (mark(results, label, variant) if metric == results.main else '')


def ratio_table(results: Results) -> Table:
    """Average ratio of each normalizer at the end over the layers, in percent."""
    cases = _cases(results)
    lines = []
    for label, variant in _pairs(results):
        own = [_ratios(results, label, variant, *case) for case in cases.values()]
        if any(own):
            lines.append([row_name(label, variant), *(spread(list(r.values())) for r in own)])
    return Table(['percent', *cases], lines)


def ratio_change_table(results: Results) -> Table:
    """How average ratios differ between each variant and the first, in pairs of seeds."""
    cases = _cases(results)
    first, *others = results.variants()
    lines = []
    for label, variant in ((label, v) for label in results.labels() for v in others):
        own = [
            paired(results, *(_ratios(results, label, v, *case) for v in (variant, first)))
            for case in cases.values()
        ]
        if any(own):
            told = (c and f'{c.mean:+.0f} ({c.low:+.0f} to {c.high:+.0f})' for c in own)
            lines.append([f'{label}, {variant} - {first}', *told])
    return Table(['percent', *cases], lines)


def _cases(results: Results) -> dict[str, tuple[str, int]]:
    """The columns of tables of ratios: 'IN, means' is normalizer IN in row 0."""
    packed = [row['ratios'] for row in results.done if row['ratios']]
    names = dict.fromkeys(name for own in packed for name in own['normalizers'])
    rows = enumerate(('means', 'variances'))
    return {f'{name}, {what}': (name, row) for row, what in rows for name in names}


def _ratios(results: Results, label: str, variant: str, name: str, row: int) -> dict[int, float]:
    """The average ratio of a normalizer by seed, in percent."""
    return {
        own['seed']: 100 * average_ratio(unpack(own['ratios']), name, row)
        for own in results.of(label, variant)
        if own['ratios']
    }


def _trends(results: Results) -> str:
    told = 'Mean ± standard deviation over the seeds of the average over the layers.'
    for label in results.labels():
        for name in NORMALIZERS:
            if own := trend(results, label, name):
                rho, p, runs = own
                told += (
                    f" {label}: {name}'s average ratio against {results.variant}: Spearman's rho "
                    f'{rho:+.2f}, p = {p:.2g}, {runs} runs.'
                )
    return told


def mixed(results: Results) -> list[str]:
    """What differs between rows that stand side by side, in words; empty if nothing does."""
    found = []
    rows = [row for row in results.done if 'provenance' in row]
    for key in ('code', 'imports', *LIBRARIES):
        there = {row['provenance'].get(key, 'not recorded') for row in rows}
        if len(there) > 1:
            told = ', '.join(sorted(there))
            found.append(f'The results are of {len(there)} versions of {key}: {told}.')
    for label, variant in _pairs(results):
        own = [row for row in results.of(label, variant) if 'provenance' in row]
        # a config's hash holds the seed, so seeds of one config differ anyway
        if len({row['data'] for row in own}) > 1:
            found.append(f'Seeds of {row_name(label, variant)} saw different data.')
    data = {row['data'] for row in results.done if 'data' in row}
    if len(data) > 1:
        found.append(f'The results are of {len(data)} versions of the data.')
    return found


def notes(results: Results) -> list[str]:
    """What a training lacks that was stopped early, and which results were certified."""
    told = [note for row in results.done for note in row.get('notes', ())]
    groups: dict[tuple[str, str, str, str], int] = {}
    for row in results.done:
        certified = row.get('certified', ())
        codes = [own['provenance']['code'] for own in (*certified, row) if 'provenance' in own]
        for own, old, new in zip(certified, codes, codes[1:], strict=False):
            case = (old, new, own['by'], own['environment']['date'])
            groups[case] = groups.get(case, 0) + 1
    told += [
        f'{count} results were measured with code {old}; {by}, trained again on {day}, reached the '
        f'same to the last digit with code {new}.'
        for (old, new, by, day), count in groups.items()
    ]
    return told


def failures(results: Results) -> Iterable[tuple[str, str, Sequence[str]]]:
    """The name, the error and the last lines of every run that failed."""
    for row in results.rows:
        if row['status'] == 'failed':
            yield row['run'], row['error'], row['last_lines']


def _pairs(results: Results) -> list[tuple[str, str]]:
    return [(b, v) for v in results.variants() for b in results.labels() if results.of(b, v)]


def _one_hot(ratios: Any) -> float:
    return float((ratios.ratios[-1] == 1).any(-1).mean())


def _mean(values: Sequence[float | None], factor: float = 1.0) -> float | None:
    there = [value for value in values if value is not None]
    return float(np.mean(there)) * factor if there else None


def _plain(value: float | None) -> str | None:
    return None if value is None else str(value)
