"""The progress of a suite on the terminal."""

from collections import Counter
from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .suite import Suite


class Board:
    """Done, running, failed, time left; a line for every run that ends. A context manager."""

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

    def show(self, states: Mapping[str, str]) -> bool:
        """Takes the state of every run, by name; tells what changed. Whether a run has ended."""
        counts = Counter(states.values())
        ended = counts['done'] + counts['failed']
        news = False
        for name, state in states.items():
            if self._states.get(name) not in (None, state) and state in ('done', 'failed'):
                news = True
                self._console.print(f'{name}: {state} ({ended} of {len(states)})', highlight=False)
        self._states = dict(states)
        running = ', '.join(name for name, state in states.items() if state == 'running')
        self._bar.update(
            self._task,
            completed=ended,
            description=f'{counts["failed"]} failed, running: {running or "nothing"}',
        )
        return news
