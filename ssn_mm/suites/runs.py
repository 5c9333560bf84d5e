"""Trains the runs of a suite, and again after any interruption."""

from collections.abc import Callable
from pathlib import Path

from .certify import certify
from .job import Commands, Result
from .plan import plan, results_of
from .queue import Machine, Queue, States
from .suite import Run, Suite

STALE = ('refuse', 'keep', 'rerun', 'certify')  # what to do with results of another provenance


def run_suite(
    suite: Suite,
    folder: Path,
    commands: Commands,
    machine: Machine | None = None,
    stale: str = 'refuse',
    tell: Callable[[States], None] = lambda states: None,
) -> list[Result]:
    """Trains what is not done yet; returns all results in the order of the suite.

    Args:
        suite: The suite.
        folder: The folder of its runs.
        commands: What trains and tests.
        machine: Where and how many at a time; one on this machine if None.
        stale: As for :func:`plan`; or 'certify', which is :func:`certify` and then 'refuse'.
        tell: Called about twice a second with the state of every run, by name: 'done', 'failed',
            'running' or 'waiting'.

    Raises:
        ValueError: As :func:`plan` and :class:`Queue`; or a run that was trained again to certify
            others reached something else.
        ModuleNotFoundError: submitit is not installed.
    """
    queue = Queue(suite, folder, commands, machine or Machine())
    states = {run.name: 'done' for run in suite.runs}
    if stale == 'certify':
        certify(suite, folder, lambda runs, place: queue.train(runs, place, states, tell))
        stale = 'refuse'

    def place(run: Run) -> Path:
        return folder / run.name

    queue.train(plan(suite, folder, stale), place, states, tell)
    return results_of(suite, folder)
