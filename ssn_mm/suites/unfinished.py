"""What a training lacks that was stopped early or goes on, in sentences."""

import math
import re
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

from ..commands import listed
from ..engine.ratios import RATIOS_FILE, Ratios, read_ratios
from ..ops import circumscribed_radius
from ..publish.configs import parse_config
from .training import is_of_training, records_of


def missing(work_dir: Path) -> list[str]:
    """What the training in a work dir lacks; empty if it is finished and all has been selected."""
    records, cfg = [record for _, record in records_of(work_dir)], _config(work_dir)
    told = [*_progress(work_dir, records, cfg), *_measured(records, cfg)]
    try:
        told += unselected(read_ratios(work_dir))
    except FileNotFoundError:
        told.append(
            f'There is no {RATIOS_FILE}: the network has neither SSN nor SN layers, or the '
            'config neither SSNRadiusHook nor RatiosHook.'
        )
    except ValueError as error:
        told.append(f'No ratios are shown: {error}.')
    if not any(work_dir.glob('*.pth')) and not (work_dir / 'last_checkpoint').is_file():
        told.append(f'{work_dir} has no checkpoint, so there is nothing to test or deploy.')
    return told


def unselected(ratios: Ratios) -> list[str]:
    """Which SSN layers have rows that have selected nothing at the end, and how many, in words."""
    radius = float(ratios.radius[-1])
    open_rows = ~(ratios.ratios[-1] == 1).any(-1)  # (L, 2)
    if math.isnan(radius) or not open_rows.any():
        return []
    names = [name for name, own in zip(ratios.layers, open_rows, strict=True) if own.any()]
    most = circumscribed_radius(len(ratios.normalizers))
    return [
        f'{open_rows.sum()} of {open_rows.size} ratios have not selected yet at iteration '
        f'{ratios.iters[-1]}, where the radius is {radius:.3f} (by {most:.3f} all have), those of '
        f'{listed(names)}.'
    ]


def _progress(work_dir: Path, records: list[dict[str, Any]], cfg: Mapping[str, Any]) -> list[str]:
    train_cfg = cfg.get('train_cfg') or {}
    by_epoch = 'max_epochs' in train_cfg
    total = train_cfg.get('max_epochs' if by_epoch else 'max_iters')
    if not total:
        return []
    training = [record for record in records if is_of_training(record)]
    scored = [record['step'] for record in records if not is_of_training(record)]
    done = [0, *scored, *_saved(work_dir, 'epoch' if by_epoch else 'iter')]
    if not by_epoch:
        done += [record['step'] for record in training[-1:]]
        done += _recorded(work_dir)
    if max(done) >= total:
        return []
    unit = 'epoch' if by_epoch else 'iteration'
    last = training[-1]['step'] if training else 0
    within = f', logged up to iteration {last}' if by_epoch else ''
    return [
        f'The training is not complete: {unit} {max(done)} of {total} is the last that was '
        f'finished{within}. It was stopped, or goes on.'
    ]


def _measured(records: list[dict[str, Any]], cfg: Mapping[str, Any]) -> list[str]:
    told = []
    if all(is_of_training(record) for record in records):
        interval = (cfg.get('train_cfg') or {}).get('val_interval', 1)
        after = f'the first comes after train_cfg.val_interval={interval}'
        why = after if not cfg or cfg.get('val_dataloader') else 'the config has none'
        told.append(f'There is no metric, as there was no validation; {why}.')
    for record in records:
        for key, value in record.items():
            if isinstance(value, float) and not math.isfinite(value) and _counts(key, record):
                told.append(f'{key} is {value} from step {record["step"]} on.')
                return told
    return told


def _counts(key: str, record: Mapping[str, Any]) -> bool:
    return key == 'loss' or not is_of_training(record)


def _saved(work_dir: Path, kind: str) -> list[int]:
    """The iteration or epoch of the last checkpoint, if the newest training wrote it."""
    pointer = work_dir / 'last_checkpoint'
    began = [log.with_name('config.py') for log in work_dir.glob('*/vis_data/scalars.json')]
    if not pointer.is_file():
        return []
    file = PureWindowsPath(pointer.read_text('utf-8', 'replace').strip())  # of whichever system
    named = re.fullmatch(rf'{kind}_(\d+)', file.stem)
    newest = max((file.stat().st_mtime for file in began if file.is_file()), default=0.0)
    return [int(named[1])] if named and pointer.stat().st_mtime >= newest else []


def _recorded(work_dir: Path) -> list[int]:
    try:
        return read_ratios(work_dir).iters[-1:].tolist()
    except (FileNotFoundError, ValueError):
        return []


def _config(work_dir: Path) -> Mapping[str, Any]:
    """The newest training's config, as data; {} where it is none."""
    files = [log.with_name('config.py') for log in sorted(work_dir.glob('*/vis_data/scalars.json'))]
    for file in (*reversed(files), *sorted(work_dir.glob('*.py'))):
        if file.is_file():
            try:
                return parse_config(file.read_text('utf-8', 'replace'))
            except ValueError:
                continue
    return {}
