"""The file predictions.json, written as results come in, so that memory does not grow."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ..files import replacing

Result = dict[str, Any]


class Record:
    """Any number of results, kept in a file without a name until they are written.

    Attributes:
        errors: The inputs that could not be read: ``input`` and ``error``.
    """

    def __init__(self) -> None:
        self.errors: list[Result] = []
        self._spool: IO[str] = tempfile.TemporaryFile('w+', encoding='utf-8')  # noqa: SIM115
        self._count = 0

    def add(self, result: Result) -> None:
        """Adds the result of an input."""
        self._separate()
        self._spool.write(_json(result))

    @contextmanager
    def growing(self, result: Result, key: str) -> Iterator['_Items']:
        """Adds a result with a list of any length under ``key``; without items there is none."""
        items = _Items(self, _json(result)[:-1] + f', {json.dumps(key)}: [')
        try:
            yield items
        finally:
            if items.count:
                more = f', {_json(items.more)[1:-1]}' if items.more else ''
                self._spool.write(f'\n ]{more}}}')

    def write(self, path: Path, **head: Any) -> None:
        """Writes all results, whole or not at all; nothing if there was no input.

        Args:
            path: The file.
            head: What stands before the results.
        """
        if not self._count and not self.errors:
            return
        with replacing(path) as temporary, open(temporary, 'w', encoding='utf-8') as file:
            file.write(_json(head)[:-1] + ',\n"results": [')
            self._spool.seek(0)
            shutil.copyfileobj(self._spool, file)
            file.write(f'\n],\n"errors": {_json(self.errors)}}}\n')
        self._spool.seek(0, os.SEEK_END)

    def _separate(self) -> None:
        self._spool.write(',\n' if self._count else '\n')
        self._count += 1


class _Items:
    def __init__(self, record: Record, opening: str) -> None:
        self._record, self._opening, self.count = record, opening, 0
        self.more: Result = {}  # what is known of the input at the end

    def add(self, item: Result) -> None:
        if not self.count:
            self._record._separate()
        self._record._spool.write((',\n  ' if self.count else self._opening + '\n  ') + _json(item))
        self.count += 1


def _json(item: Any) -> str:
    return json.dumps(item, ensure_ascii=False, allow_nan=False)
