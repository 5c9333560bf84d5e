"""Where tools take results from, a suite, a work dir or a file of results, and their arguments."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..commands import command
from ..contestants import load_contestants
from ..suites.plan import results_of
from ..suites.results import Results, read_results, results_of_suite, results_of_training
from ..suites.suite import Suite, read_suite

WORK_DIR = Path('work_dirs/suites')


def add_suites_dir(parser: argparse.ArgumentParser) -> None:
    """Adds ``--work-dir``, the folder that has a folder for each suite."""
    parser.add_argument(
        '--work-dir',
        type=Path,
        default=WORK_DIR,
        help=f'folder of all suites (default: {WORK_DIR})',
    )


@dataclass(frozen=True)
class Norms:
    """The norms that a command asks a suite to compare.

    Attributes:
        names: Labels of the suite's configs, and contestants; None for what the suite's file says.
        files: Files, or folders of files, that register contestants.
    """

    names: Sequence[str] | None = None
    files: Sequence[Path] = ()

    def read_suite(self, file: Path) -> Suite:
        """Reads a suite with these norms.

        Raises:
            FileNotFoundError: There is no such suite, or a file that is named.
            ValueError: The suite, a file of contestants or a name is wrong.
        """
        for path in self.files:
            load_contestants(path)
        return read_suite(file, self.names)

    def options(self) -> list[str | Path]:
        """The words of a printed command that asks for the same norms."""
        words: list[str | Path] = ['--norms', *self.names] if self.names else []
        return words + (['--contestants', *self.files] if self.files else [])


AS_STATED = Norms()


def add_norms(parser: argparse.ArgumentParser) -> None:
    """Adds ``--norms`` and ``--contestants``, the norms that a suite compares."""
    parser.add_argument(
        '--norms',
        nargs='+',
        metavar='NAME',
        help="what a suite compares: labels of its configs, and contestants, which inherit BN's "
        "config; all: every one of both (default: the suite's own), see docs/contestants.md",
    )
    parser.add_argument(
        '--contestants',
        nargs='+',
        type=Path,
        default=[],
        metavar='PATH',
        help='files, or folders of files, that register norms of yours',
    )


def norms_of(args: argparse.Namespace) -> Norms:
    """What :func:`add_norms` has read."""
    return Norms(args.norms, args.contestants)


def add_source(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of :func:`read_source`."""
    parser.add_argument(
        'source',
        type=Path,
        help='work dir of a training, suite file, or results.jsonl of tools/run_suite.py',
    )
    add_suites_dir(parser)
    add_norms(parser)


def read_source(
    source: Path, work_dir: Path = WORK_DIR, norms: Norms = AS_STATED
) -> tuple[Results, Path]:
    """Reads results; returns them, and the folder they lie in.

    Args:
        source: A training's work dir, a suite file or a file of results. Those of the suite that
            has the same trainings twice as long are read, too, where they are beside these.
        work_dir: Folder of all suites.
        norms: What a suite compares.

    Raises:
        FileNotFoundError: There is no such file, or no result of the suite.
        ValueError: It is none of the three.
    """
    if source.is_dir():
        return results_of_training(source), source
    if source.suffix == '.jsonl':
        results = read_results(source)
        beside = source.absolute().parents[1] / results.longer / source.name
        if results.longer and beside.is_file():
            results = replace(results, twice=read_results(beside))
        return results, source.parent
    suite = norms.read_suite(source)
    folder = work_dir / suite.name
    rows = results_of(suite, folder)
    if not rows:
        train = command('run_suite.py', source, *work_dir_option(work_dir), *norms.options())
        raise FileNotFoundError(f'no results in {folder}; train its runs first:\n    {train}')
    results = results_of_suite(suite, rows)
    if suite.longer:
        twice = norms.read_suite(source.with_name(f'{suite.longer}.py'))
        if longer := results_of(twice, work_dir / twice.name):
            results = replace(results, twice=results_of_suite(twice, longer))
    return results, folder


def work_dir_option(work_dir: Path) -> list[str | Path]:
    """The words of a printed command that name the folder of all suites; none for the default."""
    return [] if work_dir == WORK_DIR else ['--work-dir', work_dir]
