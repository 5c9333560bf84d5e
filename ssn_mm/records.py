"""Checks of records that a training or a tool has left as lines of JSON."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


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
