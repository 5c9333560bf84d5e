"""What tools/run_suite.py does."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from ..commands import command
from ..files import check_folder, check_writes
from ..shipped import OWN, shipped
from ..suites.job import Commands
from ..suites.norms import check_norms
from ..suites.plan import beside_others, results_of, take_over
from ..suites.progress import Board
from ..suites.queue import Machine, States
from ..suites.results import Results, read_results, results_of_suite, write_results
from ..suites.runs import run_suite as train_runs
from ..suites.tables import failures, mixed, notes, tables
from .results import AS_STATED, WORK_DIR, Norms, work_dir_option


def run_suite(
    file: Path,
    machine: Machine,
    gpus: int = 0,
    stale: str = 'refuse',
    work_dir: Path = WORK_DIR,
    out: Path | None = None,
    norms: Norms = AS_STATED,
) -> int:
    """Trains the runs of a suite that are not done, and prints what all of them reached.

    Args:
        file: The suite, see configs/suites/.
        machine: Where trainings run, and how many at a time.
        gpus: GPUs of each training; 0 leaves it to the training, which takes one or none.
        stale: What to do with results of another provenance, see
            :func:`ssn_mm.suites.runs.run_suite`.
        work_dir: Folder of all suites.
        out: File that has the results, too, after every run; results that it has already, and
            the work dir has not, count as done; those of other norms than asked for stay in it.
        norms: What the suite compares.

    Returns:
        The exit code: 1 if runs failed, else 0.

    Raises:
        FileNotFoundError: There is no such suite, or a config of it is not there.
        ValueError: The suite is wrong, a norm is unknown or cannot serve a network, results are of
            another provenance, or ``out`` is a file that is read.
        OSError: ``work_dir`` or ``out`` cannot be written.
    """
    suite = norms.read_suite(file)
    check_writes([out] if out else [], [file, *(run.config for run in suite.runs)])
    check_folder(work_dir)
    check_norms(suite.runs)
    folder = (work_dir / suite.name).resolve()
    before = read_results(out) if out and out.is_file() else None
    if before:
        take_over(suite, folder, before)

    def write(rows: Sequence[Mapping[str, Any]]) -> None:
        if out:
            write_results(out, results_of_suite(suite, beside_others(suite, rows, before)))

    with Board(suite, Console(stderr=True)) as board:

        def tell(states: States) -> None:
            if board.show(states):
                write(results_of(suite, folder))

        rows = train_runs(suite, folder, _commands(gpus), machine, stale, tell)
    write(rows)
    results = results_of_suite(suite, rows)
    _print_results(results)
    if results.done:
        words = [file, *work_dir_option(work_dir), *norms.options()]
        report = command('analysis_tools/report.py', *words)
        print('Pictures:', report, sep='\n    ')
    return int(len(results.done) < len(suite.runs))


def _commands(gpus: int) -> Commands:
    """What trains and tests a run: this package's tools."""
    if gpus:
        train, test = (shipped(OWN, 'tools', f'dist_{what}.sh') for what in ('train', 'test'))
        return Commands((str(train),), (str(test),), (str(gpus),))
    train, test = (shipped(OWN, 'tools', f'{what}.py') for what in ('train', 'test'))
    return Commands((sys.executable, str(train)), (sys.executable, str(test)))


def _print_results(results: Results) -> None:
    print(results.title)
    for title, (text, note) in tables(results).items() if results.done else ():
        print(f'\n{title}\n\n{text}\n\n{note}')
    print('', *mixed(results), *notes(results), sep='\n')
    for name, error, lines in failures(results):
        last = '\n    '.join(lines)
        print(f'\n{name} failed, {error}:\n    {last}', file=sys.stderr)
