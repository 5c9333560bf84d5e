"""Where tools take results from, a suite, a work dir or a file of results, and their arguments."""

import argparse
from pathlib import Path

from ..commands import command
from ..suites.plan import results_of
from ..suites.results import Results, read_results, results_of_suite, results_of_training
from ..suites.suite import read_suite

WORK_DIR = Path('work_dirs/suites')


def add_suites_dir(parser: argparse.ArgumentParser) -> None:
    """Adds ``--work-dir``, the folder that has a folder for each suite."""
    parser.add_argument(
        '--work-dir',
        type=Path,
        default=WORK_DIR,
        help=f'folder of all suites (default: {WORK_DIR})',
    )


def add_source(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of :func:`read_source`."""
    parser.add_argument(
        'source',
        type=Path,
        help='work dir of a training, suite file, or results.jsonl of tools/run_suite.py',
    )
    add_suites_dir(parser)


def read_source(source: Path, work_dir: Path = WORK_DIR) -> tuple[Results, Path]:
    """Reads results; returns them, and the folder they lie in.

    Args:
        source: A training's work dir, a suite file or a file of results.
        work_dir: Folder of all suites.

    Raises:
        FileNotFoundError: There is no such file, or no result of the suite.
        ValueError: It is none of the three.
    """
    if source.is_dir():
        return results_of_training(source), source
    if source.suffix == '.jsonl':
        return read_results(source), source.parent
    suite = read_suite(source)
    folder = work_dir / suite.name
    rows = results_of(suite, folder)
    if not rows:
        train = command('run_suite.py', source, *work_dir_option(work_dir))
        raise FileNotFoundError(f'no results in {folder}; train its runs first:\n    {train}')
    return results_of_suite(suite, rows), folder


def work_dir_option(work_dir: Path) -> list[str | Path]:
    """The words of a printed command that name the folder of all suites; none for the default."""
    return [] if work_dir == WORK_DIR else ['--work-dir', work_dir]
