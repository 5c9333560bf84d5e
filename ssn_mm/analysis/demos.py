"""Trains demos with several seeds; what they reached becomes rows, and rows a page."""

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ..engine.ratios import read_ratios
from .benchmark_rows import environment, table, write_atomically

# a validation's key in mmengine's scalars.json: its name in tables, and what makes it percent
METRICS = {'mIoU': ('mIoU', 1), 'accuracy/top1': ('top-1', 1), 'acc/top1': ('top-1', 100)}
COMMAND = 'python tools/analysis_tools/run_demos.py'
KEYS = ('demo', 'options', 'seed', 'metric', 'value', 'seconds', 'layers', 'environment')
INTRODUCTION = f"""# Demos

Made by `{COMMAND} --render` from the rows in [demos/demos.jsonl](demos/demos.jsonl), not by hand;
`{COMMAND}` trains and writes them. The metric is the last validation's, in percent; *one-hot* says
how many of the ratios, one for the mean and one for the variance of each layer, chose a single
normalizer; minutes are those of the whole command, its start included. ± is the standard deviation
over the seeds.
"""


def run_demos(
    configs: Sequence[Path], seeds: Sequence[int], folder: Path, train: Path, options: Sequence[str]
) -> Iterable[dict[str, Any]]:
    """Trains every config with every seed, one after the other, and yields a row a run.

    A run that has finished is not repeated; one that has not starts anew, for its time is measured.

    Args:
        configs: Files.
        seeds: For ``randomness.seed``.
        folder: Work dirs and logs of the runs go below it.
        train: tools/train.py.
        options: More of ``--cfg-options``; rows tell them.

    Raises:
        ValueError: A training failed, or did not validate.
    """
    runs = [(config, seed) for config in configs for seed in seeds]
    columns = (TextColumn('{task.description}'), BarColumn(), TextColumn('{task.fields[left]}'))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task('', total=len(runs), left='')
        for number, (config, seed) in enumerate(runs, 1):
            title = f'{config.stem}, seed {seed} ({number} of {len(runs)})'
            progress.update(task, description=title, left='')
            work_dir = folder / f'{config.stem}-seed{seed}'
            done = work_dir / 'row.json'
            row = json.loads(done.read_text()) if done.is_file() else None
            if row is None or row['options'] != list(options):
                shutil.rmtree(work_dir, ignore_errors=True)
                work_dir.mkdir(parents=True)
                command = [sys.executable, str(train), str(config), '--work-dir', str(work_dir)]
                command += ['--cfg-options', f'randomness.seed={seed}', *options]
                began = time.monotonic()
                for left in _follow(command, work_dir / 'output.txt'):
                    progress.update(task, left=f'ends in {left}')
                seconds = round(time.monotonic() - began, 1)
                row = dict(demo=config.stem, options=list(options), seed=seed)
                device = 'cuda' if torch.cuda.is_available() else 'cpu'
                where = environment(device, seed)
                row |= read_run(work_dir) | dict(seconds=seconds, environment=where)
                write_atomically(done, _line(row).encode())
            progress.advance(task)
            yield row


def read_run(work_dir: Path, *metrics: str) -> dict[str, Any]:
    """What a training reached, by its own logs: the last validation, and what the layers chose.

    Args:
        work_dir: Of the training.
        *metrics: Keys of the validation's scalars, the first that is there counts; those of the
            three tasks where none is given.

    Raises:
        ValueError: It has not validated.
    """
    keys = metrics or tuple(METRICS)
    logs = sorted(work_dir.glob('*/vis_data/scalars.json'))  # by the time they began
    records = [json.loads(line) for line in logs[-1].read_text().splitlines()] if logs else []
    found = [(key, record[key]) for record in records for key in keys if key in record]
    if not found:
        raise ValueError(
            f'no validation with {", ".join(keys)} in {work_dir}/*/vis_data/scalars.json; '
            'train longer than train_cfg.val_interval'
        )
    key, value = found[-1]
    metric, percent = METRICS.get(key, (key, 1))
    row = dict(metric=metric, value=round(value * percent, 2), layers=0, one_hot=0, selected={})
    if (work_dir / 'ssn_ratios.jsonl').is_file():
        run = read_ratios(work_dir)
        last = run.ratios[-1]  # (L, 2, K)
        chosen = last == 1
        counts = zip(run.normalizers, chosen.sum((0, 1)).tolist(), strict=True)
        row |= dict(layers=len(last), one_hot=int(chosen.any(-1).sum()), selected=dict(counts))
    return row


def append_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Appends rows to a JSON Lines file, each as it comes; those already there are left out."""
    for row in rows:
        old = read_rows(path) if path.is_file() else []
        if row not in old:
            write_atomically(path, ''.join(map(_line, [*old, row])).encode())


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Reads what :func:`append_rows` wrote.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A line is damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f'no rows at {path}; {COMMAND} writes them')
    rows = []
    for number, line in enumerate(path.read_text(encoding='utf-8').splitlines(), 1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            row = None
        if not isinstance(row, dict) or not row.keys() >= set(KEYS):
            raise ValueError(
                f'{path}, line {number}: expected a JSON object with {", ".join(KEYS)}, got '
                f'{line[:60]!r}; delete the line and run {COMMAND} again'
            )
        rows.append(row)
    return rows


def make_page(rows: Sequence[dict[str, Any]]) -> str:
    """The page: a table of demos by seeds, then the environments of the rows.

    Of several rows for the same demo and seed the last counts.
    """
    demos: dict[str, dict[int, dict[str, Any]]] = {}
    for row in rows:
        name = ' '.join([row['demo'], *row['options']])
        demos.setdefault(name, {})[row['seed']] = row
    seeds = sorted({row['seed'] for row in rows})
    lines = []
    for name, own in demos.items():
        shown = [own[seed] for seed in sorted(own)]
        values = [row['value'] for row in shown]
        spread = f' ± {np.std(values, ddof=1):.1f}' if len(values) > 1 else ''
        cells = [f'{own[seed]["value"]:.1f}' if seed in own else None for seed in seeds]
        minutes = np.mean([row['seconds'] for row in shown]) / 60
        line = [f'{name}, {shown[-1]["metric"]}', *cells, f'{np.mean(values):.1f}{spread}']
        lines.append(
            [*line, *map(_joined, zip(*map(_choice, shown), strict=True)), f'{minutes:.1f}']
        )
    head = ['', *(f'seed {seed}' for seed in seeds), 'mean', 'one-hot', 'chose', 'minutes']
    where = dict.fromkeys(_place(row['environment']) for row in rows)
    return f'{INTRODUCTION}\n{table(head, lines)}\n\nMeasured on:\n\n' + ''.join(
        f'- {line}\n' for line in where
    )


def _follow(command: list[str], log: Path) -> Iterable[str]:
    """Runs a training, its output in ``log``; yields the time that is left as it tells it."""
    with (
        log.open('w') as file,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process,
    ):
        for line in process.stdout or ():
            file.write(line)
            if found := re.search(r'eta: (\S+)', line):
                yield found[1]
    if process.returncode:
        end = ''.join(log.read_text().splitlines(keepends=True)[-15:])
        raise ValueError(
            f'{" ".join(command)} ended with exit code {process.returncode}; all its output is in '
            f'{log}, its end:\n{end}'
        )


def _choice(row: dict[str, Any]) -> tuple[str, str]:
    if not row['layers']:
        return '-', '-'
    counts = ' '.join(f'{name} {count}' for name, count in row['selected'].items())
    return f'{row["one_hot"]}/{2 * row["layers"]}', counts


def _joined(cells: Iterable[str]) -> str:
    """Of all seeds in turn; once where they are the same."""
    cells = list(cells)
    return cells[0] if len(set(cells)) == 1 else '; '.join(cells)


def _place(environment: dict[str, Any]) -> str:
    words = [f'{key} {value}' for key, value in environment.items() if value is not None]
    return ', '.join(word for word in words if not word.startswith(('seed ', 'device ')))


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, allow_nan=False, ensure_ascii=False) + '\n'
