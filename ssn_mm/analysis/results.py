"""Results of a suite, or of one training, as rows on disk."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..files import write_atomically
from .suite import Suite
from .training import METRICS, read_training
from .unfinished import missing

NEEDED = {'label', 'variant', 'seed', 'status'}


@dataclass(frozen=True)
class Results:
    """What tables and figures are made of.

    Attributes:
        name: Of the suite, or of the training.
        title: For people.
        variant: What the variants are, such as 'images a batch'.
        metrics: Names, the first is the main one.
        paper: The paper's value per metric, by ``row_name``.
        rows: One a run, see ``training.read_training`` and ``suite_job.train_run``.
    """

    name: str
    title: str
    variant: str
    metrics: Sequence[str]
    rows: Sequence[Mapping[str, Any]]
    paper: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @property
    def done(self) -> list[Mapping[str, Any]]:
        """Rows of the runs that did not fail."""
        return [row for row in self.rows if row['status'] == 'done']

    @property
    def main(self) -> str:
        """Name of the main metric; '' where nothing was validated."""
        return self.metrics[0] if self.metrics else ''

    def labels(self) -> list[str]:
        """Labels of the runs that are done, in the order of the suite."""
        return list(dict.fromkeys(row['label'] for row in self.done))

    def variants(self) -> list[str]:
        """Variants of the runs that are done, in the order of the suite."""
        return list(dict.fromkeys(row['variant'] for row in self.done))

    def of(self, label: str, variant: str) -> list[Mapping[str, Any]]:
        """Rows of the seeds of a config that are done."""
        return [r for r in self.done if (r['label'], r['variant']) == (label, variant)]

    def values(self, label: str, variant: str, metric: str | None = None) -> list[float]:
        """The metric's value per seed, the main metric's if none is named."""
        name = metric or self.main
        return [r['metrics'][name] for r in self.of(label, variant) if name in r['metrics']]


def results_of_suite(suite: Suite, rows: Sequence[Mapping[str, Any]]) -> Results:
    """Joins a suite's results with what it says about them."""
    names = [METRICS.get(key, (key, 1))[0] for key in suite.metrics]
    return Results(suite.name, suite.title, suite.variant, names, rows, suite.paper)


def results_of_training(work_dir: Path) -> Results:
    """Of a single training that no suite started, complete or not; ``notes`` say what is missing.

    Raises:
        FileNotFoundError: Nothing was trained there.
    """
    name = work_dir.resolve().name
    row = dict(label=name, variant='', seed=None, status='done', **read_training(work_dir))
    row['notes'] = missing(work_dir)
    return Results(name, name, '', list(row['metrics']), [row])


def write_results(path: Path, results: Results) -> None:
    """Writes JSON Lines, atomically: a header, then a row a run; null is what was NaN."""
    header = dict(
        name=results.name,
        title=results.title,
        variant=results.variant,
        metrics=list(results.metrics),
        paper=dict(results.paper),
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
        ValueError: A line is damaged, or there are no rows.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f'no results at {path}; benchmark.py of the tools writes them with --out'
        )
    found: list[dict[str, Any]] = []
    for number, line in enumerate(path.read_text(encoding='utf-8').splitlines(), 1):
        needed = NEEDED if found else {'name', 'title', 'variant', 'metrics', 'paper'}
        try:
            content = json.loads(line)
        except json.JSONDecodeError:
            content = None
        if not isinstance(content, dict) or not needed <= content.keys():
            raise ValueError(
                f'{path}, line {number}: expected a JSON object with {", ".join(sorted(needed))}, '
                f'got {line[:60]!r}; restore the file or write it again'
            )
        found.append(content)
    if len(found) < 2:
        raise ValueError(f'{path} holds {len(found)} lines and so no results')
    header, *rows = found
    for row in rows:
        row |= {key: _numbers(row[key]) for key in ('metrics', 'curves') if key in row}
    return Results(**header, rows=rows)


def _finite(node: Any) -> Any:
    """Numbers that JSON lacks as None."""
    if isinstance(node, Mapping):
        return {key: _finite(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_finite(value) for value in node]
    return None if isinstance(node, float) and not math.isfinite(node) else node


def _numbers(node: Any) -> Any:
    """And back, where all are numbers."""
    if isinstance(node, dict):
        return {key: _numbers(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_numbers(value) for value in node]
    return math.nan if node is None else node
