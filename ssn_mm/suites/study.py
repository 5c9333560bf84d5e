"""All runs of a study as one table, a run a line, in a CSV or Parquet file.

Cells that hold more than a number or a text (metrics, curves, selection, versions) are JSON. An
empty cell, or null in Parquet, means that it was not measured.
"""

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any, NoReturn, get_args, get_type_hints

from ..commands import pip_install
from ..files import write_atomically
from ..ops.normalizers import NORMALIZERS
from ..records import is_number

VERSION = 1  # of the columns; a file of another one is refused
SHIPPED = Path(__file__).parents[2] / 'docs/study/results.csv'  # of a checkout
_LONGEST = 2**20  # characters of a cell
_LEAST = dict(batch=1, seed=0, seconds=0, seconds_per_iteration=0, memory=0)


@dataclass(frozen=True)
class StudyRun:
    """One training of a study.

    Attributes:
        version: The version of these columns.
        suite: Name of the suite.
        run: Name of the run, unique in its suite.
        config: Name of the config file.
        label: The config's, or contestant's, name in the suite.
        norm: The ``type`` of its ``norm_cfg``; None where the config is not there to tell.
        selector: How ratio logits become ratios, such as 'sparsestmax'; None where none do.
        variant: Name of the overrides within the suite, such as the batch size; may be ''.
        batch: Samples of a GPU in a step.
        seed: The value of ``randomness.seed``.
        metric: Name of the suite's main metric.
        value: That metric in the last validation, or in the test; None where it was no number.
        metrics: All metrics by name.
        curves: Iterations and values by name: the training's loss, and metrics in validation.
        selection: The normalizers of mean and variance that each layer has selected in the end,
            '' for one that has selected none; None for norms that do not select.
        seconds: Time of the training.
        seconds_per_iteration: Median time of an iteration.
        memory: MiB at most, of the GPU, or without one of the largest process.
        device: Where it was trained.
        date: When it ended, as 'YYYY-MM-DD HH:MM UTC'.
        data: A hash of the data.
        versions: Versions of libraries and hashes of code and config, by name.
    """

    version: int
    suite: str
    run: str
    config: str
    label: str
    norm: str | None
    selector: str | None
    variant: str
    batch: int | None
    seed: int | None
    metric: str
    value: float | None
    metrics: Mapping[str, float]
    curves: Mapping[str, Sequence[Sequence[float]]]
    selection: Mapping[str, Sequence[str]] | None
    seconds: float | None
    seconds_per_iteration: float | None
    memory: float | None
    device: str
    date: str
    data: str
    versions: Mapping[str, str]


@dataclass(frozen=True)
class _Column:
    """The kind of a column's values, int, float, str or, as JSON, dict; whether some lack one."""

    kind: type
    optional: bool


def _columns() -> dict[str, _Column]:
    found = {}
    for name, hint in get_type_hints(StudyRun).items():
        optional = NoneType in get_args(hint)
        kind = get_args(hint)[0] if optional else hint
        found[name] = _Column(kind if kind in (int, float, str) else dict, optional)
    return found


COLUMNS = _columns()


def load_results(path: str | Path = SHIPPED) -> list[StudyRun]:
    """Reads the runs of a study.

    ``pandas.DataFrame(load_results())`` makes a data frame of them.

    Args:
        path: A CSV or Parquet file that :func:`write_study` wrote; this checkout's own if none is
            named.

    Raises:
        FileNotFoundError: There is no such file.
        ModuleNotFoundError: A Parquet file, without pyarrow.
        ValueError: The file is of another version, or a cell does not fit its column; says the
            line, the column and the value.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'no results at {path}; tidy_results.py of the tools writes them')
    readers = {'.csv': _csv_rows, '.parquet': _parquet_rows}
    if path.suffix not in readers:
        raise ValueError(f'results are a .csv or a .parquet file, got {path}')
    found: dict[tuple[str, str], StudyRun] = {}
    for line, cells in readers[path.suffix](path):
        run = _read_run(f'{path}, line {line}', cells)
        if (run.suite, run.run) in found:
            raise ValueError(f'{path}, line {line}: {run.run!r} of {run.suite!r} is there twice')
        found[run.suite, run.run] = run
    if not found:
        raise ValueError(f'{path} has no runs')
    return list(found.values())


def write_study(path: Path, runs: Sequence[StudyRun]) -> None:
    """Writes runs to a .csv or .parquet file, atomically.

    Raises:
        ModuleNotFoundError: A Parquet file, without pyarrow.
    """
    rows = [[_cell(getattr(run, name), name) for name in COLUMNS] for run in runs]
    buffer = io.BytesIO()
    if path.suffix == '.parquet':
        arrow, parquet = _pyarrow()
        kinds = {int: arrow.int64(), float: arrow.float64(), str: arrow.string()}
        schema = [(name, kinds.get(own.kind, arrow.string())) for name, own in COLUMNS.items()]
        columns = [list(column) for column in zip(*rows, strict=True)]
        parquet.write_table(arrow.table(columns, schema=arrow.schema(schema)), buffer)
    else:
        text = io.TextIOWrapper(buffer, 'utf-8', newline='')
        csv.writer(text, lineterminator='\n').writerows([list(COLUMNS), *rows])  # None is empty
        text.flush()
    write_atomically(path, buffer.getvalue())


def _cell(value: Any, name: str) -> Any:
    if COLUMNS[name].kind is dict and value is not None:
        return json.dumps(value, separators=(',', ':'), ensure_ascii=False)
    return value


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    limit = csv.field_size_limit(_LONGEST)
    try:
        with path.open(newline='', encoding='utf-8') as file:
            reader = csv.reader(file, strict=True)
            head = next(reader, [])
            for cells in reader:
                if len(cells) != len(head):
                    raise csv.Error(f'line {reader.line_num} has {len(cells)} of {len(head)} cells')
                yield reader.line_num, dict(zip(head, cells, strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f'{path} is no CSV of results: {error}') from error
    finally:
        csv.field_size_limit(limit)


def _parquet_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    arrow, parquet = _pyarrow()
    try:
        rows = parquet.read_table(path).to_pylist()
    except (arrow.ArrowException, OSError) as error:
        raise ValueError(f'{path} is no Parquet file of results: {error}') from error
    yield from enumerate(rows, 1)


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            f'Parquet needs pyarrow, a CSV file nothing: {pip_install("ssn-mm[parquet]")}',
            name='pyarrow',
        ) from None
    return pyarrow, pyarrow.parquet


def _read_run(place: str, cells: Mapping[str, Any]) -> StudyRun:
    """A run out of the cells of a line, which may be texts, after all checks."""
    if (version := str(cells.get('version'))) != str(VERSION):
        raise ValueError(
            f'{place}: version is {version}, and this ssn_mm reads version {VERSION} of the '
            'columns; have the ssn_mm that wrote the file read it, or write it again'
        )
    if cells.keys() != COLUMNS.keys():
        lacking, more = COLUMNS.keys() - cells.keys(), cells.keys() - COLUMNS.keys()
        raise ValueError(f'{place}: columns lack {sorted(lacking)} and have {sorted(more)} beside')
    values = {name: _value(place, name, cells[name]) for name in COLUMNS}
    for name, check in _CHECKS.items():
        if values[name] is not None and not check(values[name]):
            _refuse(place, name, cells[name])
    return StudyRun(**values)


def _value(place: str, name: str, cell: Any) -> Any:
    column = COLUMNS[name]
    if column.optional and cell in (None, ''):
        return None
    if column.kind is str and not isinstance(cell, str):
        _refuse(place, name, cell)
    try:
        value = json.loads(cell) if column.kind is dict else column.kind(cell)
    except (TypeError, ValueError):
        _refuse(place, name, cell)
    if column.kind is int and float(cell) != value:
        _refuse(place, name, cell)
    least = _LEAST.get(name, -math.inf)
    if column.kind in (int, float) and not (math.isfinite(value) and value >= least):
        _refuse(place, name, cell)
    return value


def _refuse(place: str, name: str, cell: Any) -> NoReturn:
    text = repr(cell) if len(repr(cell)) <= 60 else f'{repr(cell)[:57]}...'
    raise ValueError(f'{place}: {name} is {text}, expected {_EXPECTED.get(name, "a text")}')


def _is_numbers(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_finite(number) for number in value.values())


def _is_finite(value: Any) -> bool:
    return is_number(value) and math.isfinite(value)


def _is_curves(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(curve, list)
        and len(curve) == 2
        and all(isinstance(part, list) for part in curve)
        and len(curve[0]) == len(curve[1])
        and all(_is_finite(at) for at in curve[0])
        and all(at is None or _is_finite(at) for at in curve[1])
        for curve in value.values()
    )


def _is_selection(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(pair, list) and len(pair) == 2 and all(own in ('', *NORMALIZERS) for own in pair)
        for pair in value.values()
    )


def _is_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


_CHECKS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(('suite', 'run', 'label', 'metric'), bool),
    'metrics': _is_numbers,
    'curves': _is_curves,
    'selection': _is_selection,
    'versions': _is_texts,
}
_EXPECTED = {
    **dict.fromkeys(('suite', 'run', 'label', 'metric'), 'a text that is not empty'),
    **{name: f'a number of at least {least}, or nothing' for name, least in _LEAST.items()},
    'batch': 'a whole number of at least 1, or nothing',
    'seed': 'a whole number of at least 0, or nothing',
    'value': 'a finite number, or nothing',
    'metrics': 'JSON, a number for each name',
    'curves': 'JSON, iterations and their values for each name',
    'selection': f'JSON, two of {", ".join(NORMALIZERS)} or "" for each layer',
    'versions': 'JSON, a text for each name',
}
