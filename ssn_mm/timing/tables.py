"""Tables, and those of what was timed."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .rounds import TOTAL

UNITS = {'ms': 1e3, 'µs': 1e6}
MEBI = 2**20


def describe(case: Mapping[str, Any]) -> str:
    """A case in words: numbers with their names, texts and lists without."""
    words = []
    for key, value in case.items():
        value = 'x'.join(map(str, value)) if isinstance(value, list) else value
        words.append(value if isinstance(value, str) else f'{key} {value}')
    return ', '.join(words)


def grouped(rows: Iterable[dict[str, Any]], keys: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Rows in groups, by the values that their cases have for some keys, in words."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(describe({key: row['case'][key] for key in keys}), []).append(row)
    return found


def geometric_mean(values: Iterable[float]) -> float | None:
    """The geometric mean of positive numbers; None where there are none."""
    logs = np.log(list(values))
    return float(np.exp(logs.mean())) if len(logs) else None


class Table:
    """A table; as a string it is Markdown, padded so that it reads well in a terminal.

    prettytable, which mmsegmentation brings, leaves a | in a cell as it is, which ends the cell.

    Args:
        head: Names of the columns.
        lines: The cells of each line: numbers are shown with three figures, None as a dash. The
            first column is text, the others are aligned to the right.

    Attributes:
        cells: All lines as texts, the head first.
    """

    def __init__(self, head: Sequence[str], lines: Iterable[Sequence[object]]) -> None:
        self.cells = [[*head], *([_text(cell) for cell in line] for line in lines)]

    def __str__(self) -> str:
        cells = [[cell.replace('|', '\\|') for cell in line] for line in self.cells]
        widths = [max(2, *map(len, column)) for column in zip(*cells, strict=True)]

        def join(line: Sequence[str]) -> str:
            first, *rest = line
            padded = [first.ljust(widths[0]), *map(str.rjust, rest, widths[1:])]
            return f'| {" | ".join(padded)} |'

        rule = [f':{"-" * (widths[0] - 1)}', *(f'{"-" * (w - 1)}:' for w in widths[1:])]
        return '\n'.join([join(cells[0]), f'| {" | ".join(rule)} |', *map(join, cells[1:])])


def table(head: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """A :class:`Table` as Markdown."""
    return str(Table(head, lines))


def case_table(rows: Sequence[Mapping[str, Any]], baselines: Sequence[str], unit: str) -> str:
    """What one case measured: times, ratios to the baselines, memory and share of the roofline.

    Args:
        rows: The rows of one case.
        baselines: Names of the ratios' denominators; those that took no part are left out.
        unit: The unit of the times, 'ms' or 'µs'.
    """
    done = [row for row in rows if row['seconds']]
    phases = list(dict.fromkeys(p for row in done for p in row['seconds'] if p != TOTAL))
    there = [base for base in baselines if any(base in row['ratio'] for row in done)]
    memory = there[:1] if any(row['peak_bytes'] is not None for row in rows) else []
    roofline = [phase for phase in phases if any(phase in row.get('roofline', ()) for row in rows)]
    head = ['', *(f'{phase} {unit}' for phase in phases), f'{TOTAL} {unit} (20-80 %)']
    head += [f'/ {base}' for base in there]
    head += [text for base in memory for text in ('peak MiB', f'memory / {base}')]
    head += ['MiB to move'] if roofline else []
    head += [f'{phase} roofline' for phase in roofline]
    lines = []
    for row in rows:
        seconds, ratio, peak = row['seconds'] or {}, row['ratio'] or {}, row['peak_bytes']
        line = [row['competitor'], *(show_time(seconds.get(p), unit) for p in phases)]
        line += [row['note'] or show_time(seconds.get(TOTAL), unit, spread=True)]
        line += [ratio[base][TOTAL]['median'] if base in ratio else None for base in there]
        for base in memory:
            line += [None if peak is None else peak / MEBI, (row['peak_ratio'] or {}).get(base)]
        if roofline:
            moved = [_text(row['bytes'][p] / MEBI) for p in roofline if p in row['bytes']]
            line += [' + '.join(moved) or None]
        line += [percent(row['roofline'].get(phase)) for phase in roofline]
        lines.append(line)
    return table(head, lines)


def mean_table(rows: Sequence[Mapping[str, Any]], baselines: Sequence[str]) -> str:
    """Geometric means over the rows' cases: time by baseline, memory by the first baseline.

    A competitor that missed a case has the number of its cases beside its name: it is not
    comparable with those that took part in all.
    """
    there = [b for b in baselines if any(b in (row['ratio'] or {}) for row in rows)]
    names = list(dict.fromkeys(row['competitor'] for row in rows))
    cases = len({json.dumps(row['case'], sort_keys=True) for row in rows})
    lines = []
    for name in names:
        own = [row for row in rows if row['competitor'] == name and row['seconds']]
        few = '' if len(own) == cases else f' ({len(own)} of {cases} cases)'
        line = [name + few, *(mean_ratio(own, base) for base in there)]
        line += [mean_memory(own, base) for base in there[:1]]
        if 'roofline' in rows[0]:
            phases = [p for p in ('forward', 'backward') if any(p in r['roofline'] for r in own)]
            line += [percent(geometric_mean(r['roofline'][p] for r in own)) for p in phases]
            line += [None] * (2 - len(phases))
        lines.append(line)
    head = ['', *(f'time / {base}' for base in there), *(f'memory / {base}' for base in there[:1])]
    head += ['forward roofline', 'backward roofline'] if 'roofline' in rows[0] else []
    return table(head, lines)


def mean_ratio(rows: Iterable[Mapping[str, Any]], base: str, phase: str = TOTAL) -> float | None:
    """Geometric mean over rows of the median time relative to ``base``."""
    return geometric_mean(
        row['ratio'][base][phase]['median'] for row in rows if base in (row['ratio'] or {})
    )


def mean_memory(rows: Iterable[Mapping[str, Any]], base: str) -> float | None:
    """Geometric mean over rows of the peak memory relative to ``base``."""
    ratios = ((row['peak_ratio'] or {}).get(base) for row in rows)
    return geometric_mean(ratio for ratio in ratios if ratio)


def show_time(quantiles: Mapping[str, float] | None, unit: str, spread: bool = False) -> str | None:
    """Seconds in another unit: the median, with ``spread`` followed by '(p20-p80)'."""
    if quantiles is None:
        return None
    low, middle, high = (_text(quantiles[q] * UNITS[unit]) for q in ('p20', 'median', 'p80'))
    return f'{middle} ({low}-{high})' if spread else middle


def percent(share: float | None) -> str | None:
    """0.5 as '50 %'."""
    return None if share is None else f'{share:.0%}'.replace('%', ' %')


def _text(cell: object) -> str:
    """A cell as text: a number with three figures, None as a dash."""
    if isinstance(cell, float):
        return f'{cell:.0f}' if abs(cell) >= 99.95 or cell == 0 else f'{cell:#.3g}'
    return '-' if cell is None else str(cell)
