"""What was timed, as data: rows on disk with their environment."""

import json
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from ..files import write_atomically
from ..records import check_numbers, is_number, read_rows, wrong
from ..version import __version__
from .rounds import QUANTILES


@dataclass(frozen=True)
class Timings:
    """The rows that a tool of tools/benchmarks wrote, and how they were measured.

    Attributes:
        tool: Name of the tool.
        environment: What :func:`environment` returned.
        settings: The command's arguments, and the ``baselines`` of its ratios.
        rows: What :func:`.rounds.measure` returned for each case.
    """

    tool: str
    environment: dict[str, Any]
    settings: dict[str, Any]
    rows: list[dict[str, Any]]


def environment(device: str = 'cpu', seed: int = 0) -> dict[str, Any]:
    """What measured numbers depend on; it names no host, no user and no path."""
    cpu = platform.processor() or platform.machine()
    info = Path('/proc/cpuinfo')  # of Linux
    said = info.read_text('utf-8', 'replace') if info.is_file() else ''
    if found := re.search(r'model name\s*:\s*(.+)', said):
        cpu = found[1].strip()
    return dict(
        device=torch.cuda.get_device_name() if device == 'cuda' else cpu,
        cpu=cpu,
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        cuda=torch.version.cuda if device == 'cuda' else None,
        python=platform.python_version(),
        system=f'{platform.system()} {platform.machine()}',
        ssn_mm=__version__,
        commit=_commit(),
        date=datetime.now(timezone.utc).strftime('%Y-%m-%d %H:%M UTC'),
        seed=seed,
    )


def file_name(timings: Timings) -> str:
    """``<tool>-<device>.jsonl`` in small letters; beside a busy neighbour ``<tool>-busy-...``."""
    device = re.sub(r'[^a-z0-9]+', '-', timings.environment['device'].lower()).strip('-')
    return f'{timings.tool}{"-busy" * has_neighbour(timings)}-{device}.jsonl'


def has_neighbour(timings: Timings) -> bool:
    """Whether another process kept one core busy while the rows were measured."""
    return bool(timings.settings.get('busy'))


def write_timings(path: str | Path, timings: Timings) -> None:
    """Writes JSON Lines, atomically: a header with tool, environment and settings, then the rows.

    Raises:
        ValueError: A number is NaN or infinite.
    """
    header = dict(tool=timings.tool, environment=timings.environment, settings=timings.settings)
    lines = [
        json.dumps(line, allow_nan=False, ensure_ascii=False) for line in (header, *timings.rows)
    ]
    write_atomically(path, ('\n'.join(lines) + '\n').encode())


def read_timings(path: str | Path) -> Timings:
    """Reads what :func:`write_timings` wrote.

    Raises:
        ValueError: A line is damaged or has no number where one belongs, or there are no rows.
    """
    keys = ('tool', 'environment', 'settings'), ('case', 'competitor', 'seconds')
    found: list[dict[str, Any]] = []
    for number, content in read_rows(path, *keys, 'measure again'):
        if found:
            _check_row(path, number, content)
        found.append(content)
    header, *rows = found
    return Timings(header['tool'], header['environment'], header['settings'], rows)


def _check_row(path: str | Path, line: int, row: Mapping[str, Any]) -> None:
    """Checks the values that tables count with."""
    if not isinstance(row['case'], dict):
        raise wrong(path, line, 'case', row['case'], 'what was measured, by name')
    if not isinstance(row['competitor'], str):
        raise wrong(path, line, 'competitor', row['competitor'], 'a name')
    check_numbers(path, line, row, 'rounds', 'peak_bytes')
    phases = [('seconds', row['seconds'])]
    ratios, peaks = row.get('ratio') or {}, row.get('peak_ratio') or {}
    for key, value in (('ratio', ratios), ('peak_ratio', peaks)):
        if not isinstance(value, dict):
            raise wrong(path, line, key, value, 'an entry for each baseline')
    check_numbers(path, line, peaks, *peaks)
    phases += [(f'ratio to {base}', own) for base, own in ratios.items()]
    for name, own in phases:
        spreads = list(own.values()) if isinstance(own, dict) else [None]
        wanted = ', '.join(QUANTILES)
        for spread in spreads if own is not None else ():
            if not isinstance(spread, dict) or not all(is_number(spread.get(q)) for q in QUANTILES):
                raise wrong(path, line, name, own, f'{wanted} of each phase, as numbers')


def _commit() -> str:
    """Commit of the checkout that holds this file; '+dirty' where more than docs/ differs."""
    root = Path(__file__).resolve().parents[2]
    if not (root / '.git').exists():  # installed; a repository further up is somebody else's
        return 'unknown'

    def git(*command: str) -> str:
        done = subprocess.run(
            ['git', '--no-optional-locks', *command],
            cwd=root,
            capture_output=True,
            encoding='utf-8',
            check=True,
        )
        return done.stdout.strip()

    try:
        commit = git('rev-parse', '--short=10', 'HEAD')
        # what one measurement wrote does not change the next one
        return commit + ('+dirty' if git('status', '--porcelain', '--', ':!docs') else '')
    except (OSError, subprocess.CalledProcessError):
        return 'unknown'
