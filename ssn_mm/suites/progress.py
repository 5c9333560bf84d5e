"""The progress of a suite on the terminal."""

import time
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from .suite import Suite

ENDED = ('done', 'failed')


class Board:
    """A context manager that shows how many runs are done and failed, which run, the time left.

    It prints a line for each run that ends.

    Args:
        suite: The suite.
        console: Where to show it.
    """

    def __init__(self, suite: Suite, console: Console) -> None:
        columns = (BarColumn(), MofNCompleteColumn(), TextColumn('{task.description}'))
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task = self._bar.add_task('', total=len(suite.runs))
        self._console = console
        self._states: dict[str, str] = {}
        self._began = time.monotonic()
        self._first = 0  # runs that had ended before

    def __enter__(self) -> 'Board':
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def show(self, states: Mapping[str, str]) -> bool:
        """Shows what has changed.

        Args:
            states: The state of each run, by name.

        Returns:
            Whether a run has ended.
        """
        counts = Counter(states.values())
        ended = sum(counts[state] for state in ENDED)
        news = [n for n, s in states.items() if s in ENDED and self._states.get(n, s) != s]
        if not self._states or ended < self._first:  # more is to do, as after certifying some
            self._first, self._began = ended, time.monotonic()
        self._states = dict(states)
        left = self._left(ended, len(states))
        for name in news:
            told = f'{name}: {states[name]} ({ended} of {len(states)}{left})'
            self._console.print(told, highlight=False)
        running = ', '.join(name for name, state in states.items() if state == 'running')
        told = f'{counts["failed"]} failed{left}, running: {running or "nothing"}'
        self._bar.update(self._task, completed=ended, description=told)
        return bool(news)

    def _left(self, ended: int, total: int) -> str:
        """The time left in words, by the mean pace of the runs that have ended since the start."""
        if ended in (self._first, total):
            return ''
        pace = (time.monotonic() - self._began) / (ended - self._first)
        return f', about {timedelta(seconds=round(pace * (total - ended)))} left'
