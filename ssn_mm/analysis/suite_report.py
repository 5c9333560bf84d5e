"""What is seen of a suite: its progress, and the table of its results."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .benchmark_rows import table
from .suite import Suite


class Board:
    """Progress of a suite: done, running, failed, time left. A context manager."""

    def __init__(self, suite: Suite, console: Console) -> None:
        columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn())
        self._bar = Progress(
            *columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal
        )
        self._task = self._bar.add_task(suite.name, total=len(suite.runs))
        self._console = console
        self._states: dict[str, str] = {}

    def __enter__(self) -> 'Board':
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def show(self, states: Mapping[str, str]) -> None:
        """Takes the state of every run, by name; tells what changed."""
        for name, state in states.items():
            if self._states.get(name) not in (None, state) and state in ('done', 'failed'):
                self._console.print(f'{name}: {state}', highlight=False)
        self._states = dict(states)
        counts = Counter(states.values())
        running = ', '.join(name for name, state in states.items() if state == 'running')
        self._bar.update(
            self._task,
            completed=counts['done'] + counts['failed'],
            description=f'{counts["failed"]} failed, running: {running or "nothing"}',
        )


def make_table(suite: Suite, results: Sequence[Mapping[str, Any]]) -> str:
    """Mean ± standard deviation over the seeds, beside the paper's number; says what is mixed."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for run in suite.runs:
        groups.setdefault(_row(run.label, run.variant), [])
    for result in results:
        if result['status'] == 'done':
            groups[_row(result['label'], result['variant'])].append(result)
    lines = []
    for name, own in groups.items():
        values = [result['value'] for result in own]
        spread = f' ± {np.std(values, ddof=1):.2f}' if len(values) > 1 else ''
        reached = f'{np.mean(values):.2f}{spread}' if values else ''
        minutes = f'{np.mean([result["seconds"] for result in own]) / 60:.1f}' if own else ''
        paper = suite.paper.get(name)
        lines.append([name, reached, len(own), minutes, *([paper] if suite.paper else [])])
    head = ['', suite.metric, 'seeds', 'minutes', *(["the paper's"] if suite.paper else [])]
    return '\n'.join([suite.title, '', table(head, lines), *_mixed(results)])


def _row(label: str, variant: str) -> str:
    return f'{label}, {variant}' if variant else label


def _mixed(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Warnings where results of different versions stand side by side."""
    done = [result for result in results if result['status'] == 'done']
    found = []
    for what, versions in {
        'code': {result['fingerprint']['code'] for result in done},
        'PyTorch': {result['fingerprint']['torch'] for result in done},
    }.items():
        if len(versions) > 1:
            found.append(f'\nThese results are of {len(versions)} versions of {what}.')
    by_config: dict[tuple[str, str], set[str]] = {}
    for result in done:
        by_config.setdefault((result['label'], result['variant']), set()).add(result['data'])
    if any(len(versions) > 1 for versions in by_config.values()):
        found.append('\nThese results are of data that changed between the runs.')
    return found
