"""What a training reached, read from the logs in its work dir."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..engine.ratios import RATIOS_FILE, Ratios, read_ratios
from ..records import check_numbers, is_number, read_lines, wrong

# a validation's key in mmengine's scalars.json: its name in tables, and what makes it percent
METRICS = {
    'mIoU': ('mIoU', 1),
    'accuracy/top1': ('top-1', 1),
    'accuracy/top5': ('top-5', 1),
    'acc/top1': ('top-1', 100),
    'acc/top5': ('top-5', 100),
}
TRAINING = 'training '  # begins the names of curves that are of a training's own batches
OF_BATCHES = {  # a training step's key; the same
    'accuracy_top-1': (f'{TRAINING}top-1', 1),
    'top1_acc': (f'{TRAINING}top-1', 100),
    'decode.acc_seg': (f'{TRAINING}pixel accuracy', 1),
}
METRICS |= {f'soft/{key}': (f'soft {name}', percent) for key, (name, percent) in METRICS.items()}
_NO_METRICS = ('step', 'epoch', 'time', 'data_time', 'memory')  # of a validation's record
POINTS, RECORDS = 60, 40  # of a curve, and of the ratios: as many as a figure can show


def read_training(work_dir: Path, metrics: Sequence[str] = ()) -> dict[str, Any]:
    """Reads what mmengine and ``RatiosHook`` logged, thinned to what tables and figures show.

    In a work dir that was trained in again, it is what was logged since the last training began.

    Args:
        work_dir: The training's folder.
        metrics: Keys of a validation's scalars, which must be there; if empty, those of the three
            tasks, or else whatever was validated, if anything was.

    Returns:
        ``metrics``, percent by name, of the last validation; ``curves``, lists of iterations and
        values: the training's ``loss`` and accuracy, and every metric at the training's last
        record before a validation; ``seconds_per_iteration``, the median; ``memory``, MiB at most
        on a GPU, or None; ``ratios``, see :func:`pack`, or None.

    Raises:
        FileNotFoundError: Nothing was trained there.
        ValueError: It has not validated with ``metrics``, or a record has no number where one
            belongs.
    """
    records = records_of(work_dir, metrics)
    if not records and not (work_dir / RATIOS_FILE).is_file():
        raise FileNotFoundError(
            f"no training in {work_dir}, which has neither */vis_data/scalars.json, mmengine's "
            f'log, nor {RATIOS_FILE}'
        )
    scored = metrics or _validated([record for _, record in records])
    training, curves = [r for _, r in records if is_of_training(r)], _Curves()
    for at, record in records:
        if 'loss' in record:
            curves.add('loss', at, record['loss'])
        for key, (name, percent) in OF_BATCHES.items():
            if is_number(record.get(key)):
                curves.add(name, at, record[key] * percent)
        for key in scored:
            if is_number(record.get(key)):
                name, percent = METRICS.get(key, (key, 1))
                curves.add(name, at, record[key] * percent)
    names = [METRICS.get(key, (key, 1))[0] for key in scored]
    missing = [key for key, name in zip(scored, names, strict=True) if name not in curves.points]
    if missing and metrics:
        raise ValueError(
            f'no validation with {", ".join(missing)} in {work_dir}/*/vis_data/scalars.json; train '
            'longer than train_cfg.val_interval'
        )
    times = [record['time'] for record in training if 'time' in record]
    memory = [record['memory'] for record in training if 'memory' in record]
    return dict(
        metrics={n: round(curves.points[n][-1][1], 3) for n in names if n in curves.points},
        curves={name: curves.thinned(name) for name in curves.points},
        seconds_per_iteration=round(float(np.median(times)), 5) if times else None,
        memory=max(memory) if memory else None,
        ratios=_ratios(work_dir),
    )


def records_of(work_dir: Path, metrics: Sequence[str] = ()) -> list[tuple[int, dict[str, Any]]]:
    """What mmengine logged of a work dir's training, each after the iteration it was logged at.

    A resumed training goes over its last iterations again, and one that begins in an old work dir
    over all of them: what is not before them is left out. A validation is at the iteration that
    the training had logged last. A loss or metric that is null was NaN.

    Args:
        work_dir: The training's folder.
        metrics: Keys of a validation's scalars that must be numbers, beside those of the three
            tasks.

    Raises:
        ValueError: A record has no number where one belongs; names file, line and value.
    """
    found: list[tuple[int, dict[str, Any]]] = []
    at = 0
    for log in sorted(work_dir.glob('*/vis_data/scalars.json')):  # by the time they began
        for record in _records(log, metrics):
            if is_of_training(record):
                if record['step'] <= at:
                    found = [(own, kept) for own, kept in found if own < record['step']]
                at = record['step']
            found.append((at, record))
    return found


def is_of_training(record: Mapping[str, Any]) -> bool:
    """Whether a record is of the training, not of a validation."""
    return 'loss' in record or 'iter' in record


def pack(ratios: Ratios) -> dict[str, Any]:
    """Ratios as JSON: at most ``RECORDS`` records, the last among them, rounded to 4 digits."""
    kept = _spread(len(ratios.iters), RECORDS)
    radius = [None if np.isnan(r) else round(float(r), 4) for r in ratios.radius[kept]]
    return dict(
        layers=list(ratios.layers),
        normalizers=list(ratios.normalizers),
        iters=ratios.iters[kept].tolist(),
        radius=radius,
        ratios=ratios.ratios[kept].round(4).tolist(),
    )


def unpack(packed: Mapping[str, Any]) -> Ratios:
    """The ratios that :func:`pack` made JSON of."""
    return Ratios(
        packed['layers'],
        packed['normalizers'],
        np.array(packed['iters']),
        np.array(packed['radius'], dtype=float),
        np.array(packed['ratios']),
    )


def selected(ratios: Ratios) -> dict[str, int]:
    """How many rows of ratios have selected each normalizer at the end."""
    counts = (ratios.ratios[-1] == 1).sum((0, 1)).tolist()
    return dict(zip(ratios.normalizers, counts, strict=True))


def average_ratio(ratios: Ratios, normalizer: str, row: int | None = None) -> float:
    """Average of a normalizer's last ratios over layers, and over both rows if none is named."""
    if normalizer not in ratios.normalizers:
        return 0.0
    last = ratios.ratios[-1, ..., list(ratios.normalizers).index(normalizer)]  # (L, 2)
    return float(last.mean() if row is None else last[:, row].mean())


class _Curves:
    def __init__(self) -> None:
        self.points: dict[str, list[tuple[int, float]]] = {}

    def add(self, name: str, at: int, value: float) -> None:
        self.points.setdefault(name, []).append((at, value))

    def thinned(self, name: str) -> list[list[float]]:
        own = self.points[name]
        own = [own[i] for i in _spread(len(own), POINTS)]
        return [[at for at, _ in own], [float(f'{value:.4g}') for _, value in own]]


def _spread(count: int, most: int) -> list[int]:
    """At most ``most`` of ``count`` indices, evenly, the last among them."""
    kept = np.linspace(count - 1, 0, min(count, most)).round().astype(int)
    return sorted(set(kept.tolist()))


def _records(log: Path, metrics: Sequence[str]) -> list[dict[str, Any]]:
    found, scored = [], ('loss', *METRICS, *metrics)
    for number, record in read_lines(log):
        if not isinstance(record, dict) or 'step' not in record:
            continue
        if not isinstance(record['step'], int):
            raise wrong(log, number, 'step', record['step'], 'a whole number')
        check_numbers(log, number, record, 'time', 'memory', *scored)
        nothing = {key for key, value in record.items() if value is None}
        found.append(
            {
                key: math.nan if key in nothing else value
                for key, value in record.items()
                if key not in nothing or key in scored
            }
        )
    return found


def _validated(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """The three tasks' metrics that there are, else all numbers of validations."""
    if known := [key for key in METRICS if any(key in record for record in records)]:
        return known
    own = {
        key: None
        for record in records
        if not is_of_training(record)
        for key, value in record.items()
        if is_number(value) and key not in _NO_METRICS
    }
    return list(own)


def _ratios(work_dir: Path) -> dict[str, Any] | None:
    try:
        return pack(read_ratios(work_dir))
    except (FileNotFoundError, ValueError):  # of a network without, or stopped before a record
        return None
