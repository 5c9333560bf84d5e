"""Writes the rows of ``gpu_check.py``: each finding as a line of JSON, and as one for people."""

import json
import os
import time
from pathlib import Path
from typing import Any

_START = b'{"part": '  # of a row
WORDS = {True: 'ok', False: 'failed', None: 'noted'}


class NotHere(Exception):  # noqa: N818
    """Something that a part needs is not here; the message says what."""


class Rows:
    """Takes what a part of the check finds.

    Args:
        path: File that lines are added to.
        part: Name of the part.
        seconds: Time that the part has.
    """

    def __init__(self, path: Path, part: str, seconds: float) -> None:
        self.path, self.part = path, part
        self.end = time.monotonic() + seconds
        self.start = time.monotonic()

    def left(self) -> float:
        """Seconds that the part has left."""
        return self.end - time.monotonic()

    def write(self, case: str, ok: bool | None, note: str = '', **values: Any) -> None:
        """Writes a finding at once; ``ok`` is None where nothing can be wrong, or was not tried."""
        row = dict(part=self.part, case=case, ok=ok, **values, note=note)
        row['seconds'] = round(time.monotonic() - self.start, 3)
        line = (json.dumps(row) + '\n').encode()
        with open(self.path, 'ab') as file:  # a single write, since parts run side by side
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        numbers = ' '.join(f'{name} {_short(value)}' for name, value in values.items())
        said = ' '.join(filter(None, [self.part + (f': {case}' if case else ''), numbers, note]))
        print(f'{WORDS[ok]:6} {said}', flush=True)


def check_rows(path: Path) -> None:
    """Checks that rows can be added to a file, and makes it where it is not there yet.

    Raises:
        OSError: The file cannot be written.
        ValueError: It is a folder, or holds something else.
    """
    if path.is_dir():
        raise ValueError('is a folder, and a file is needed, such as gpu_check.jsonl in it')
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, 'ab+') as file:
        file.seek(0)
        if file.read(len(_START)) not in (b'', _START):
            raise ValueError('holds no rows of this tool; give the name of a new file')


def count_rows(path: Path, start: int) -> dict[str, int]:
    """How many rows from byte ``start`` on are ok, failed, or only noted."""
    counts = dict.fromkeys(WORDS.values(), 0)
    if path.exists():
        for line in path.read_bytes()[start:].decode().splitlines():
            counts[WORDS[json.loads(line)['ok']]] += 1
    return counts


def _short(value: Any) -> str:
    return f'{value:.3g}' if isinstance(value, float) else str(value)
