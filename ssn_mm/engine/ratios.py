"""``ssn_ratios.jsonl``: every layer's ratios during a training, written by ``RatiosHook``.

A header line with the layers' names and normalizers, then a line per record: iterations done,
radius (null for SN), and per layer the ratios of mean and variance.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import print_log

from ..files import write_atomically
from ..records import is_number, read_lines, wrong

RATIOS_FILE = 'ssn_ratios.jsonl'
_HEADER, _RECORD = {'layers', 'normalizers'}, {'iter', 'radius', 'ratios'}


@dataclass(frozen=True)
class Ratios:
    """The ratios of L layers in T records.

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
        normalizers: The normalizers of every layer, by its name.
        start: How many iterations are done.
    """
    header = dict(layers=list(normalizers), normalizers=[list(own) for own in normalizers.values()])
    kept: list[dict] = []
    if start and path.exists():
        try:
            for number, record in enumerate(_lines(path)):
                if not number and record != header:
                    raise ValueError(f'{path} is of other layers')
                if number and record['iter'] <= start:
                    kept.append(record)
        except ValueError as error:  # after a full disk, say: no reason to stop a training
            aside = _free(path)
            path.rename(aside)
            told = f'{error}. It is now {aside}; a new file has its first {len(kept)} records'
            print_log(told, 'current', logging.WARNING)
    write_atomically(path, ''.join(map(_line, [header, *kept])).encode())


def append_ratios(path: Path, iteration: int, radius: float | None, ratios: Sequence) -> None:
    """Appends a record: ratios per layer, row and normalizer, rounded to 4 digits."""
    rounded = [[[round(p, 4) for p in row] for row in layer] for layer in ratios]
    radius = None if radius is None else round(radius, 6)
    with path.open('ab') as file:
        file.write(_line(dict(iter=iteration, radius=radius, ratios=rounded)).encode())


def read_ratios(path: str | Path) -> Ratios:
    """Reads a work dir's file of ratios; a line cut short by a crash ends it.

    Args:
        path: The file, or the work dir.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is no file of ratios, or has no record yet, or a record does not fit.
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


def check_record(path: Path, line: int, record: Any, normalizers: Sequence[Sequence[str]]) -> None:
    """Checks a record of ratios against the normalizers of every layer.

    Raises:
        ValueError: It has other keys, another number of layers, rows or ratios, or no numbers;
            names file, line and value.
    """
    if not isinstance(record, dict) or not record.keys() >= _RECORD:
        raise wrong(path, line, 'the record', record, f'one with {", ".join(sorted(_RECORD))}')
    done, radius, layers = (record[key] for key in ('iter', 'radius', 'ratios'))
    if not isinstance(done, int):
        raise wrong(path, line, 'iter', done, 'the number of iterations done')
    if radius is not None and not is_number(radius):
        raise wrong(path, line, 'radius', radius, 'a number, or null for SN')
    if not isinstance(layers, list) or len(layers) != len(normalizers):
        count = len(layers) if isinstance(layers, list) else layers
        raise wrong(path, line, 'the number of layers of ratios', count, f'{len(normalizers)}')
    for index, (layer, own) in enumerate(zip(layers, normalizers, strict=True)):
        rows = layer if isinstance(layer, list) and len(layer) == 2 else [None]
        if not all(
            isinstance(r, list) and len(r) == len(own) and all(map(is_number, r)) for r in rows
        ):
            what = f'two lists of {len(own)} numbers'
            raise wrong(path, line, f'ratios of layer {index}', layer, what)


def _is_header(content: Any) -> bool:
    if not isinstance(content, dict) or not content.keys() >= _HEADER:
        return False
    layers, normalizers = content['layers'], content['normalizers']
    lists = [layers, normalizers, *(normalizers if isinstance(normalizers, list) else ())]
    return (
        all(isinstance(each, list) for each in lists)
        and len(layers) == len(normalizers)
        and all(isinstance(name, str) for name in chain(layers, *normalizers))
    )


def _free(path: Path) -> Path:
    """A name beside a file that no file has."""
    number = 1
    while (aside := path.with_name(f'{path.name}.damaged{number}')).exists():
        number += 1
    return aside


def _line(content: Mapping[str, Any]) -> str:
    return json.dumps(content, separators=(',', ':')) + '\n'


def _lines(path: Path) -> Iterator[dict]:
    """The header and the records of a file, checked, up to a line that was cut short."""
    header: dict = {}
    for number, content in read_lines(path):
        if header:
            check_record(path, number, content, header['normalizers'])
        elif _is_header(content):
            header = content
        else:
            break
        yield content
    if not header:
        raise ValueError(f'{path} is not a file that SSNRadiusHook or RatiosHook wrote')
