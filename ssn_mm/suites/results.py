"""Results of a suite, or of one training, as rows on disk."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..engine.ratios import check_record
from ..files import write_atomically
from ..records import check_numbers, is_number, read_rows, wrong
from .provenance import named_now
from .suite import RULES, Suite
from .training import METRICS, read_training
from .unfinished import missing

NEEDED = {'label', 'variant', 'seed', 'status'}
_HEADER = ('name', 'title', 'variant', 'metrics', 'paper')
_MEASURED = ('metrics', 'curves', 'seconds_per_iteration', 'memory', 'ratios')  # of a run


@dataclass(frozen=True)
class Results:
    """Results of a suite, or of one training, which tables and figures show.

    Attributes:
        name: The name of the suite, or of the training.
        title: What people call it.
        variant: What the variants are, such as 'images a batch'.
        metrics: Names of the metrics, the main one first.
        rows: One a run, see :func:`.training.read_training` and :func:`.job.train_run`.
        paper: The paper's value per metric, by :func:`.suite.row_name`.
        rule: Which of two values of the main metric is better, 'greater' or 'less'.
        longer: Name of the suite that has the same trainings, twice as long; '' if there is none.
        twice: The results of that suite, if there are any.
        splits: In how many parts seeds split the data, each testing on its own and training on all
            others; 0 if all seeds have the same.
        reference: The label that all others are compared with; '' leaves it to
            :func:`.significance.reference`.
    """

    name: str
    title: str
    variant: str
    metrics: Sequence[str]
    rows: Sequence[Mapping[str, Any]]
    paper: Mapping[str, Sequence[float]] = field(default_factory=dict)
    rule: str = 'greater'
    longer: str = ''
    twice: 'Results | None' = None
    splits: int = 0
    reference: str = ''

    @property
    def done(self) -> list[Mapping[str, Any]]:
        """Rows of the runs that did not fail."""
        return [row for row in self.rows if row['status'] == 'done']

    @property
    def main(self) -> str:
        """Name of the main metric; '' where nothing was validated."""
        return self.metrics[0] if self.metrics else ''

    @property
    def main_and_rule(self) -> str:
        """Name of the main metric, with a remark if less of it is better."""
        return f'{self.main} (less is better)' if self.rule == 'less' else self.main

    @property
    def interval(self) -> str:
        """What intervals of differences are, see :func:`.significance.of_splits`."""
        return f'95 % interval{", Nadeau-Bengio" if self.splits else ""}'

    def is_better(self, first: float, second: float) -> bool:
        """Whether the first value of the main metric is better than the second."""
        return first < second if self.rule == 'less' else first > second

    def labels(self) -> list[str]:
        """Labels of the runs that are done, in the order of the suite."""
        return list(dict.fromkeys(row['label'] for row in self.done))

    def variants(self) -> list[str]:
        """Variants of the runs that are done, in the order of the suite."""
        return list(dict.fromkeys(row['variant'] for row in self.done))

    def of(self, label: str, variant: str) -> list[Mapping[str, Any]]:
        """Rows of the seeds of a config that are done."""
        return [r for r in self.done if (r['label'], r['variant']) == (label, variant)]

    def by_seed(self, label: str, variant: str) -> dict[Any, float]:
        """The main metric of each seed."""
        rows = self.of(label, variant)
        return {r['seed']: r['metrics'][self.main] for r in rows if self.main in r['metrics']}

    def values(self, label: str, variant: str, metric: str | None = None) -> list[float]:
        """The metric's value per seed, the main metric's if none is named."""
        name = metric or self.main
        return [r['metrics'][name] for r in self.of(label, variant) if name in r['metrics']]


def results_of_suite(suite: Suite, rows: Sequence[Mapping[str, Any]]) -> Results:
    """Joins a suite's results with what it says about them."""
    names = [METRICS.get(key, (key, 1))[0] for key in suite.metrics]
    about = (suite.name, suite.title, suite.variant, names, rows, suite.paper, suite.rule)
    return Results(*about, suite.longer, splits=suite.splits, reference=suite.reference)


def results_of_training(work_dir: Path) -> Results:
    """The result of a training that no suite started, complete or not.

    The ``notes`` of its row say what it lacks.

    Raises:
        FileNotFoundError: Nothing was trained there.
    """
    name = work_dir.resolve().name
    row = dict(label=name, variant='', seed=None, status='done', **read_training(work_dir))
    row['notes'] = missing(work_dir)
    return Results(name, name, '', list(row['metrics']), [row])


def write_results(path: Path, results: Results) -> None:
    """Writes JSON Lines, atomically: a header, then a row for each run; NaN becomes null."""
    header = dict(
        name=results.name,
        title=results.title,
        variant=results.variant,
        metrics=list(results.metrics),
        paper=dict(results.paper),
        rule=results.rule,
        longer=results.longer,
        splits=results.splits,
        reference=results.reference,
    )
    lines = (
        json.dumps(line, allow_nan=False, ensure_ascii=False, separators=(',', ':'))
        for line in _finite([header, *results.rows])
    )
    write_atomically(path, ('\n'.join(lines) + '\n').encode())


def read_results(path: Path) -> Results:
    """Reads what :func:`write_results` wrote.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A line is damaged or has no number where one belongs, or there are no rows.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f'no results at {path}; run_suite.py of the tools writes them with --out'
        )
    found: list[dict[str, Any]] = []
    for number, content in read_rows(path, _HEADER, NEEDED, 'write it again'):
        (_check_row if found else _check_header)(path, number, content)
        found.append(content)
    header, *rows = found
    for row in map(named_now, rows):
        row |= {key: _numbers(row[key]) for key in ('metrics', 'curves') if key in row}
    named = {key: header[key] for key in _HEADER}
    more = dict(rule=header.get('rule', 'greater'), longer=header.get('longer', ''))
    more |= dict(splits=header.get('splits', 0), reference=header.get('reference', ''))
    return Results(**named, rows=rows, **more)


def _check_header(path: Path, line: int, header: Mapping[str, Any]) -> None:
    names, paper = header['metrics'], header['paper']
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise wrong(path, line, 'metrics', names, 'a list of names')
    lists = list(paper.values()) if isinstance(paper, dict) else [None]
    if (rule := header.get('rule', 'greater')) not in RULES:
        raise wrong(path, line, 'rule', rule, ' or '.join(map(repr, RULES)))
    longer = header.get('longer', '')
    if not isinstance(longer, str) or (longer and not longer.isidentifier()):
        raise wrong(path, line, 'longer', longer, "a suite's name")
    splits = header.get('splits', 0)
    if type(splits) is not int or splits < 0:
        raise wrong(path, line, 'splits', splits, 'how many there are')
    reference = header.get('reference', '')
    if not isinstance(reference, str):
        raise wrong(path, line, 'reference', reference, 'a label')
    if not all(isinstance(each, list) and all(map(_is_value, each)) for each in lists):
        raise wrong(path, line, 'paper', paper, 'a list of numbers for each row')


def _check_row(path: Path, line: int, row: Mapping[str, Any]) -> None:
    """Checks the values that tables and figures count with."""
    if row['status'] not in ('done', 'failed'):
        raise wrong(path, line, 'status', row['status'], "'done' or 'failed'")
    if row['status'] == 'failed':
        return
    if lacking := [key for key in _MEASURED if key not in row]:
        raise wrong(path, line, 'the row', row, f'one with {", ".join(lacking)}')
    check_numbers(path, line, row, 'seconds', 'seconds_per_iteration', 'memory')
    metrics, curves, ratios = row['metrics'], row['curves'], row['ratios']
    if not isinstance(metrics, dict) or not all(map(_is_value, metrics.values())):
        raise wrong(path, line, 'metrics', metrics, 'a number for each name')
    for name, curve in curves.items() if isinstance(curves, dict) else [('', None)]:
        lists: list[Any] = curve if isinstance(curve, list) and len(curve) == 2 else [None]
        are_lists = all(isinstance(each, list) and all(map(_is_value, each)) for each in lists)
        if not are_lists or len({len(each) for each in lists}) > 1:
            raise wrong(path, line, f'the curve {name!r}', curve, 'iterations and their values')
    if ratios is not None:
        _check_ratios(path, line, ratios)


def _check_ratios(path: Path, line: int, packed: Any) -> None:
    keys = ('layers', 'normalizers', 'iters', 'radius', 'ratios')
    if not isinstance(packed, dict) or not all(isinstance(packed.get(key), list) for key in keys):
        raise wrong(path, line, 'ratios', packed, f'lists of {", ".join(keys)}')
    counts = {len(packed[key]) for key in ('iters', 'radius', 'ratios')}
    if len(counts) > 1 or not packed['iters']:
        raise wrong(path, line, 'the number of records of ratios', sorted(counts), 'one for all')
    normalizers = [packed['normalizers']] * len(packed['layers'])
    for done, radius, own in zip(packed['iters'], packed['radius'], packed['ratios'], strict=True):
        record = dict(iter=done, radius=radius, ratios=own)
        check_record(path, line, record, normalizers)


def _is_value(value: Any) -> bool:
    return value is None or is_number(value)


def _finite(node: Any) -> Any:
    """A value with None for the numbers that JSON lacks."""
    if isinstance(node, Mapping):
        return {key: _finite(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_finite(value) for value in node]
    return None if isinstance(node, float) and not math.isfinite(node) else node


def _numbers(node: Any) -> Any:
    """What :func:`_finite` made None as NaN again, where all are numbers."""
    if isinstance(node, dict):
        return {key: _numbers(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_numbers(value) for value in node]
    return math.nan if node is None else node
