"""Which runs of a suite are to be trained, by the results that its folder holds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..config_files import read_config
from .job import Result, check_own, read_result, write_result
from .provenance import differences, provenance_of
from .results import Results
from .suite import Run, Suite, run_name


class Stale(NamedTuple):
    """A result of another provenance than the one its run would have now.

    Attributes:
        run: The run.
        result: What is recorded of it.
        now: The provenance that it would have now.
        differing: What differs between the two, in words, by name.
    """

    run: Run
    result: Result
    now: dict[str, str]
    differing: dict[str, str]


def plan(suite: Suite, folder: Path, stale: str = 'refuse') -> list[Run]:
    """Which runs are to be trained: those not done, and those that start from one of these.

    Args:
        suite: The suite.
        folder: The folder of its runs.
        stale: What to do with results of another provenance: 'refuse', 'keep' or 'rerun'.

    Raises:
        ValueError: There are stale results, and they are refused; or the folder of a run holds
            somebody else's files.
    """
    results = {run.name: read_result(folder / run.name) for run in suite.runs}
    to_do = {name for name, own in results.items() if own is None or own['status'] != 'done'}
    if stale == 'rerun':
        to_do |= {own.run.name for own in stale_results(suite, folder)}
    elif stale == 'refuse' and (other := stale_results(suite, folder)):
        told = '; '.join(f'{s.run.name} ({", ".join(s.differing.values())})' for s in other[:5])
        raise ValueError(
            f'{len(other)} results in {folder} are of another provenance than now: {told}. Train '
            'them again with --stale rerun, or mix them, which tables will say, with --stale keep; '
            'those that differ in code alone may turn out to be equal with --stale certify'
        )
    planned = [run for run in suite.runs if run.name in to_do or run.after in to_do]
    for run in planned:
        check_own(folder / run.name)
    return planned


def stale_results(suite: Suite, folder: Path) -> list[Stale]:
    """Results of another provenance than now, in the order of the suite."""
    found = []
    for run in suite.runs:
        result = read_result(folder / run.name)
        if result is not None and result['status'] == 'done':
            now = provenance_of(read_config(run.config, run.options))
            if differing := differences(result['provenance'], now):
                found.append(Stale(run, result, now, differing))
    return found


def results_of(suite: Suite, folder: Path) -> list[Result]:
    """Results of all runs that have one, in the order of the suite."""
    return [result for run in suite.runs if (result := read_result(folder / run.name))]


def beside_others(
    suite: Suite, rows: Sequence[Mapping[str, Any]], before: Results | None
) -> list[Mapping[str, Any]]:
    """Rows of a suite with those that a file has of other runs, such as of other norms.

    Args:
        suite: The suite, perhaps with some of its norms alone.
        rows: Its rows.
        before: What an earlier call wrote, whose order is kept; None if there is no file.
    """
    own = {run.name for run in suite.runs}
    named = {
        run_name(r['label'], r['variant'], r['seed']): r for r in (before.rows if before else ())
    }
    if named.keys() <= own:
        return list(rows)
    new = {run_name(row['label'], row['variant'], row['seed']): row for row in rows}
    kept = {name: row for name, row in named.items() if name in new or name not in own}
    return list((kept | new).values())


def take_over(suite: Suite, folder: Path, results: Results) -> None:
    """Gives runs that have no result in the folder the one that a file of results has.

    Args:
        suite: The suite.
        folder: The folder of its runs.
        results: What an earlier call wrote.

    Raises:
        ValueError: The results are of another suite, or the folder of a run holds somebody else's
            files.
    """
    if results.name != suite.name:
        raise ValueError(
            f'the results to go on from are of {results.name!r}, the suite is {suite.name!r}; name '
            'another file'
        )
    known = {row['run']: row for row in results.done if 'provenance' in row}
    for run in suite.runs:
        own = folder / run.name
        if run.name in known and read_result(own) is None:
            check_own(own)
            write_result(own, dict(known[run.name]))
