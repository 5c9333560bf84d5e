"""Results of a suite, or of one training, as rows on disk."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..files import write_atomically
from .suite import Suite
from .training import METRICS, read_training

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
        """Name of the main metric."""
        return self.metrics[0]

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
        return [row['metrics'][metric or self.main] for row in self.of(label, variant)]


def results_of_suite(suite: Suite, rows: Sequence[Mapping[str, Any]]) -> Results:
    """Joins a suite's results with what it says about them."""
    names = [METRICS.get(key, (key, 1))[0] for key in suite.metrics]
    return Results(suite.name, suite.title, suite.variant, names, rows, suite.paper)


def results_of_training(work_dir: Path) -> Results:
    """Of a single training that no suite started.

    Raises:
        ValueError: It has not validated.
    """
    name = work_dir.resolve().name
    row = dict(label=name, variant='', seed=None, status='done', **read_training(work_dir))
    return Results(name, name, '', list(row['metrics']), [row])


def write_results(path: Path, results: Results) -> None:
    """Writes JSON Lines, atomically: a header, then a row a run."""
    header = dict(
        name=results.name,
        title=results.title,
        variant=results.variant,
        metrics=list(results.metrics),
        paper=dict(results.paper),
    )
    lines = (
        json.dumps(line, allow_nan=False, ensure_ascii=False, separators=(',', ':'))
        for line in (header, *results.rows)
    )
    write_atomically(path, ('\n'.join(lines) + '\n').encode())


def read_results(path: Path) -> Results:
    """Reads what :func:`write_results` wrote.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A line is damaged, or there are no rows.
    """
    if not path.is_file():
        raise FileNotFoundError(f'no results at {path}; tools/benchmark.py --out writes them')
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
    return Results(**header, rows=rows)
