"""Records that a training or a tool has left as lines of JSON, read and checked."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any


def read_lines(path: str | Path) -> Iterator[tuple[int, Any]]:
    """Yields number and content of each line of JSON.

    A line that is no JSON ends the file without an error: a training that was killed has left it
    half written.
    """
    for number, line in _lines(path):
        try:
            content = json.loads(line)
        except json.JSONDecodeError:
            return
        yield number, content


def read_rows(
    path: str | Path, header: Iterable[str], row: Iterable[str], remedy: str
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields number and content of each line of a file that was written whole.

    Args:
        path: The file: a JSON object that describes it, then one for each row.
        header: Keys that the first object must have.
        row: Keys that each of the others must have.
        remedy: What to do about a damaged file, such as 'measure again'.

    Raises:
        ValueError: A line is no such object, or there is no row.
    """
    number = 0
    for number, line in _lines(path):
        needed = set(header if number == 1 else row)
        try:
            content = json.loads(line)
        except json.JSONDecodeError:
            content = None
        if not isinstance(content, dict) or not needed <= content.keys():
            raise ValueError(
                f'{path}, line {number}: expected a JSON object with {", ".join(sorted(needed))}, '
                f'got {line[:60]!r}; restore the file or {remedy}'
            )
        yield number, content
    if number < 2:
        raise ValueError(f'{path} holds {number} lines and so no rows; {remedy}')


def wrong(path: str | Path, line: int, name: str, value: Any, expected: str) -> ValueError:
    """The error for a value that cannot be used; names its file, line and what to do."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    text = text if len(text) <= 60 else f'{text[:57]}...'
    return ValueError(
        f'{path}, line {line}: {name} is {text}, expected {expected}; correct the line, or restore '
        'the file'
    )


def is_number(value: Any) -> bool:
    """Whether a value of JSON is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_numbers(path: str | Path, line: int, record: Mapping[str, Any], *keys: str) -> None:
    """Checks that entries of a record, as far as it has them, are numbers or null.

    Raises:
        ValueError: One is something else.
    """
    for key in keys:
        value = record.get(key)
        if value is not None and not is_number(value):
            raise wrong(path, line, key, value, 'a number')


def _lines(path: str | Path) -> Iterator[tuple[int, str]]:
    return enumerate(Path(path).read_text('utf-8', 'replace').splitlines(), 1)
