"""``ssn_ratios.jsonl``: every layer's ratios during a training, written by ``RatiosHook``.

A header line with the layers' names and normalizers, then a line per record: iterations done,
radius (null for SN), and per layer the ratios of mean and variance.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import print_log

from ..files import write_atomically

RATIOS_FILE = 'ssn_ratios.jsonl'
_HEADER, _RECORD = {'layers', 'normalizers'}, {'iter', 'radius', 'ratios'}


@dataclass(frozen=True)
class Ratios:
    """T records of L layers.

    Attributes:
        layers: L names.
        normalizers: Every normalizer that any layer has, in order of appearance.
        iters: (T,) iterations done.
        radius: (T,) Euclidean distance on the simplex plane; NaN for SN.
        ratios: (T, L, 2, K) for means and variances, 0 where a layer lacks a normalizer.
    """

    layers: Sequence[str]
    normalizers: Sequence[str]
    iters: np.ndarray
    radius: np.ndarray
    ratios: np.ndarray


def start_ratios(path: Path, normalizers: Mapping[str, Sequence[str]], start: int) -> None:
    """Writes the header; of a resumed training's file keeps the records before ``start``.

    Args:
        path: The file.
        normalizers: Of every layer, by its name.
        start: Iterations done.
    """
    header = dict(layers=list(normalizers), normalizers=[list(own) for own in normalizers.values()])
    kept = []
    if start and path.exists():
        try:
            _, *records = _lines(path)
        except ValueError as error:  # of a full disk, say: no reason to stop a training
            print_log(f'{error}; its records are begun again', 'current', logging.WARNING)
            records = []
        kept = [record for record in records if record['iter'] <= start]
    write_atomically(path, ''.join(map(_line, [header, *kept])).encode())


def append_ratios(path: Path, iteration: int, radius: float | None, ratios: Sequence) -> None:
    """Appends a record: ratios per layer, row and normalizer, rounded to 4 digits."""
    rounded = [[[round(p, 4) for p in row] for row in layer] for layer in ratios]
    radius = None if radius is None else round(radius, 6)
    with path.open('a') as file:
        file.write(_line(dict(iter=iteration, radius=radius, ratios=rounded)))


def read_ratios(path: str | Path) -> Ratios:
    """Reads a work dir's file; a line cut short by a crash ends it.

    Args:
        path: The file, or the work dir.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is not such a file, or has no record yet.
    """
    path = Path(path)
    path = path / RATIOS_FILE if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(
            f'no ratios at {path}; SSNRadiusHook and RatiosHook write them to the work dir'
        )
    header, *records = _lines(path)
    if not records:
        raise ValueError(f'{path} has no record of ratios yet')
    names = list(dict.fromkeys(name for layer in header['normalizers'] for name in layer))
    ratios = np.zeros((len(records), len(header['layers']), 2, len(names)))
    for index, own in enumerate(header['normalizers']):
        columns = [names.index(name) for name in own]
        ratios[:, index, :, columns] = np.moveaxis(
            np.array([record['ratios'][index] for record in records]), -1, 0
        )
    return Ratios(
        header['layers'],
        names,
        np.array([record['iter'] for record in records]),
        np.array([record['radius'] for record in records], dtype=float),  # None is NaN
        ratios,
    )


def _line(content: Mapping[str, Any]) -> str:
    return json.dumps(content, separators=(',', ':')) + '\n'


def _lines(path: Path) -> list[dict]:
    found: list[dict] = []
    for line in path.read_text(errors='replace').splitlines():
        try:
            content = json.loads(line)
        except json.JSONDecodeError:
            break  # cut short when the training was killed
        if not isinstance(content, dict) or not content.keys() >= (_RECORD if found else _HEADER):
            break
        found.append(content)
    if not found:
        raise ValueError(f'{path} is not a file that SSNRadiusHook or RatiosHook wrote')
    return found
