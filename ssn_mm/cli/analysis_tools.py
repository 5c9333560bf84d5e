"""What the tools in tools/analysis_tools/ do."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from ..commands import command
from ..engine.ratios import Ratios, read_ratios
from ..files import check_folder, check_writes, write_atomically
from ..suites.metafiles import render
from ..suites.search import best_recipes
from ..suites.suite import read_suite
from ..suites.tables import fill_page, notes, tables
from ..suites.unfinished import unselected
from ..timing.tables import Table
from ..visualization.ratio_figures import plot_layers, plot_network, plot_progress
from ..visualization.report import write_report
from ..visualization.trajectory import plot_trajectory
from .results import AS_STATED, WORK_DIR, Norms, read_source, work_dir_option


def report(source: Path, work_dir: Path, out: Path | None = None, norms: Norms = AS_STATED) -> None:
    """Writes a page of results and its figures, and prints where it is and what is missing.

    Args:
        source: Work dir of a training, suite file, or file of results.
        work_dir: Folder of all suites.
        out: Folder to write; None is report/ beside the results.
        norms: What a suite compares.
    """
    results, folder = read_source(source, work_dir, norms)
    out = out or folder / 'report'
    check_folder(out)
    print(f'Written: {write_report(results, out)}', *notes(results), sep='\n')


def print_tables(source: Path, work_dir: Path, norms: Norms = AS_STATED) -> None:
    """Prints the tables of results as Markdown; takes what :func:`report` takes."""
    results, _ = read_source(source, work_dir, norms)
    for title, (text, note) in tables(results).items():
        print(f'## {title}\n\n{text}\n\n{note}\n')
    print('\n'.join(notes(results)))


def fill_tables(
    source: Path, work_dir: Path, page: Path, check: bool = False, norms: Norms = AS_STATED
) -> int:
    """Puts the tables of results into a Markdown page.

    Args:
        source: Work dir of a training, suite file, or file of results.
        work_dir: Folder of all suites.
        page: The page.
        check: Whether to compare and write nothing.
        norms: What a suite compares.

    Returns:
        The exit code: 1 if ``check`` finds another text, and says the command that writes it.
    """
    results, _ = read_source(source, work_dir, norms)
    check_writes([] if check else [page], [source])
    old = page.read_text(encoding='utf-8')
    new = fill_page(old, results)
    if not check:
        write_atomically(page, new.encode())
    elif new != old:
        words = [source, *work_dir_option(work_dir), *norms.options(), '--into', page]
        again = command('analysis_tools/make_tables.py', *words)
        print(f'{page} differs from {source}; run\n    {again}', file=sys.stderr)
        return 1
    return 0


def pick_recipes(file: Path, source: Path | None, out: Path, work_dir: Path = WORK_DIR) -> None:
    """Writes the best variant of each label of a search as its recipe, and prints them.

    Args:
        file: The suite of the search.
        source: File of its results; None for those of its work dir.
        out: The JSON file that other suites name as ``recipes``.
        work_dir: Folder of all suites.

    Raises:
        ValueError: The results are not the suite's, or a label lacks variants.
    """
    suite = read_suite(file)
    results, _ = read_source(source or file, work_dir)
    if results.name != suite.name:
        raise ValueError(f'{source} has results of {results.name!r}, the suite is {suite.name!r}')
    check_writes([out], [file, *([source] if source else [])])
    found = best_recipes(results, suite.variants)
    write_atomically(out, (json.dumps(found, indent=2) + '\n').encode())
    lines = [[label, *list(own.values())[:2]] for label, own in found['recipes'].items()]
    print(Table(['norm', suite.variant or 'variant', results.main_and_rule], lines))


def make_metafiles(configs: Path, check: bool = False) -> int:
    """Renders metafiles, model index and the READMEs' tables from a folder's results.yml.

    Args:
        configs: The folder of the configs.
        check: Whether to compare and write nothing.

    Returns:
        The exit code: 1 if ``check`` finds a file that is out of date.
    """
    files = render(configs)
    old = [
        path
        for path, text in files.items()
        if not path.is_file() or path.read_text(encoding='utf-8') != text
    ]
    for path in old:
        if not check:
            write_atomically(path, files[path].encode())
        print(f'{"out of date" if check else "written"}: {path}')
    if not (check and old):
        return 0
    again = command('analysis_tools/make_metafiles.py', '--configs', configs)
    told = f'{len(old)} files differ from {configs / "results.yml"}; run\n    {again}'
    print(told, file=sys.stderr)
    return 1


def plot_ratios(sources: Sequence[Path], out: Path | None = None) -> None:
    """Draws the ratios of one training or several, and prints where, and what is not selected yet.

    Args:
        sources: Work dirs of trainings, or their ssn_ratios.jsonl.
        out: Folder to write; None is figures/ in the first work dir.

    Raises:
        ValueError: Two work dirs have one name, by which pictures tell them apart.
    """
    runs = _ratios_of(sources)
    out = _figures(sources[0], out)
    first = next(iter(runs.values()))
    for picture in (plot_network(first), plot_progress(first), plot_layers(runs)):
        print(f'Written: {picture.write(out)[0]}')
    for name, run in runs.items():
        for line in unselected(run):
            print(f'{name}: {line}')


def plot_paths(
    sources: Sequence[Path], layers: Sequence[str] | None = None, out: Path | None = None
) -> None:
    """Draws the paths of layers' ratios on the simplex, and prints where.

    Args:
        sources: Work dirs of trainings, or their ssn_ratios.jsonl.
        layers: Names of the layers; None is five, evenly spaced.
        out: Folder to write; None is figures/ in the first work dir.

    Raises:
        ValueError: Two work dirs have one name, by which pictures tell them apart.
    """
    runs = _ratios_of(sources)
    out = _figures(sources[0], out)
    print(f'Written: {plot_trajectory(runs, layers).write(out)[0]}')
    for name, run in runs.items():
        print(*(f'{name}: {line}\n' for line in unselected(run)), sep='', end='')


def _ratios_of(sources: Sequence[Path]) -> dict[str, Ratios]:
    """The ratios of work dirs by their names, which must differ."""
    runs = {(p if p.is_dir() else p.parent).resolve().name: read_ratios(p) for p in sources}
    if len(runs) < len(sources):
        raise ValueError(f'the work dirs must have different names, got {", ".join(runs)} only')
    return runs


def _figures(source: Path, out: Path | None) -> Path:
    """The folder of figures of a work dir, or of the one that a file lies in; it can be written."""
    out = out or (source if source.is_dir() else source.parent) / 'figures'
    check_folder(out)
    return out
