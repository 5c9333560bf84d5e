"""What tools/analysis_tools/tidy_results.py and add_results.py do."""

import re
from collections.abc import Sequence
from pathlib import Path

from ..files import check_writes, write_atomically
from ..suites.study import SHIPPED, StudyRun, load_results, write_study
from ..suites.tidying import study_runs
from ..visualization.results_page import OURS, results_page
from .results import WORK_DIR, read_source

OTHERS = 'others'  # the folder beside a study's files that has those of others


def tidy_results(sources: Sequence[Path], out: Path, work_dir: Path = WORK_DIR) -> None:
    """Writes all runs of a study into one CSV and one Parquet file, and its page.

    The Parquet file needs pyarrow, and is left out with a word where that is not installed.

    Args:
        sources: Suite files, or files of results that tools/run_suite.py wrote with --out.
        out: The CSV file; the others lie beside it, of the same stem.
        work_dir: Folder of all suites.

    Raises:
        FileNotFoundError: A source is not there, or a suite has no results.
        ValueError: A source is no results, two have a run of one name, or a file would be written
            over a source.
    """
    if out.suffix != '.csv':
        raise ValueError(f'--out is a .csv file, got {out}')
    check_writes([out, out.with_suffix('.parquet'), out.with_suffix('.html')], sources)
    runs: list[StudyRun] = []
    for source in sources:
        results, _ = read_source(source, work_dir)
        runs += study_runs(results)
    for number, run in enumerate(runs):
        if any((other.suite, other.run) == (run.suite, run.run) for other in runs[:number]):
            raise ValueError(f'{run.run} of {run.suite} is in two sources; name one of them')
    write_study(out, runs)
    written = [out]
    try:
        write_study(out.with_suffix('.parquet'), runs)
        written.append(out.with_suffix('.parquet'))
    except ModuleNotFoundError as error:
        print(f'No Parquet file: {error}')
    written.append(write_page(out))
    print(f'{len(runs)} runs. Written:', *written, sep='\n    ')


def add_results(file: Path, study: Path = SHIPPED, name: str = '') -> None:
    """Checks somebody else's results and puts them beside a study, whose page shows them apart.

    Args:
        file: Their CSV or Parquet file.
        study: The study's CSV file.
        name: What the page calls them; the file's stem if none is given.

    Raises:
        FileNotFoundError: A file is not there.
        ValueError: Their file is of another version, or a cell of it is wrong; or the name is
            no short one, or taken.
    """
    name = name or file.stem
    if not re.fullmatch(r'\w[\w.-]{0,39}', name) or name == OURS:
        raise ValueError(
            f'the name must be up to 40 letters, digits, ., _ and -, and not {OURS!r}, got '
            f'{name!r}; give another with --name'
        )
    runs = load_results(file)
    load_results(study)
    place = study.parent / OTHERS / f'{name}.csv'
    if place.exists():
        raise ValueError(f'{place} is there already; remove it, or give another --name')
    write_study(place, runs)
    print(f'{len(runs)} runs checked. Written:', place, write_page(study), sep='\n    ')


def write_page(study: Path) -> Path:
    """Writes the page of a study's CSV file, with what lies in ``others`` beside it.

    Raises:
        ValueError: A file does not fit, see :func:`ssn_mm.suites.study.load_results`.
    """
    files = sorted((study.parent / OTHERS).glob('*.csv'))
    others = {file.stem: load_results(file) for file in files}
    there = [study.with_suffix(suffix) for suffix in ('.csv', '.parquet')]
    names = [file.name for file in there if file.is_file()]
    page = study.with_suffix('.html')
    write_atomically(page, results_page(load_results(study), others, names).encode())
    return page
