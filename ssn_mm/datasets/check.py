"""Verifies the data of a config, every sample of it, before a long training."""

import os
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec

import cv2
import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS
from rich.console import Console
from rich.progress import track

from .pool import Failure, map_in_processes
from .preflight import check_datasets
from .probes import Fault, Labels, label_table, probe_annotated, probe_image, probe_video
from .sample_check import model_classes
from .samples import labels_of, leaves, location, odd_lines, task_of

SPLITS = ('train', 'val', 'test')
UNITS = {'classification': 'images', 'segmentation': 'pixels', 'video': 'videos'}


@dataclass
class Split:
    """What was found in one split.

    Args:
        name: 'train', 'val' or 'test'.
        same_as: An earlier split with the same data; nothing was checked again then.
        task: 'classification', 'segmentation' or 'video'; '' if nothing could be loaded.
        samples: Number of samples.
        decoded: How many of them were decoded, fewer with a limit.
        classes: Names of the classes; empty strings where only their number is known.
        counts: Images, pixels or videos by class; the ignored class included.
        faults: All of them.
        ignored: The label of pixels that no loss counts.
    """

    name: str
    same_as: str = ''
    task: str = ''
    samples: int = 0
    decoded: int = 0
    classes: list[str] = field(default_factory=list)
    counts: Counter = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)
    ignored: int | None = None


def check(
    cfg,
    splits: list[str] | None = None,
    workers: int | None = None,
    limit: int | None = None,
    progress: bool = True,
) -> list[Split]:
    """Loads each dataset of a config and decodes its files, in parallel.

    Args:
        cfg: An mmengine config.
        splits: Of 'train', 'val' and 'test'; all that the config has by default.
        workers: Processes that decode; as many as there are CPU cores by default.
        limit: Decode so many samples of a dataset, evenly spread; then classes that never occur
            in annotations are not told. Lists are always checked in full.
        progress: Whether to show a progress bar (on stderr).

    Raises:
        DatasetMissingError: A folder or list is missing, see ``check_datasets``.
        ValueError: An argument is out of range, or a dataset cannot be built or is none of image
            classification, semantic segmentation and video recognition.
    """
    there = [name for name in SPLITS if cfg.get(f'{name}_dataloader')]
    for name, value in (('workers', workers), ('limit', limit)):
        if value is not None and value < 1:
            raise ValueError(f'{name} must be at least 1, got {value}')
    for name in splits or []:
        if name not in there:
            has = ', '.join(there) or 'none'
            raise ValueError(f'the config has no {name}_dataloader; it has {has}')
    names = [name for name in there if name in (splits or there)]
    if not names:
        raise ValueError('the config has no train_dataloader, val_dataloader or test_dataloader')
    check_datasets(cfg, tuple(names))
    scope = cfg.get('default_scope') or 'mmengine'
    found: list[Split] = []
    before: dict[str, list[dict]] = {}
    for name in names:
        nodes = [_bare(node) for node in leaves(cfg[f'{name}_dataloader']['dataset'], scope)]
        same = next((other for other, theirs in before.items() if theirs == nodes), '')
        split = Split(name, same_as=same)
        if not same:
            before[name] = nodes
            for node in nodes:
                _check_dataset(split, node, cfg, workers or _cores(), limit, progress)
            split.faults += _absent(split, location(nodes[0]), limit)
            split.faults.sort(key=lambda fault: (fault.kind, fault.file))
        found.append(split)
    return found


def _bare(node: dict) -> dict:
    """A dataset without what does not belong to its data."""
    kept = {key: value for key, value in node.items() if key != 'test_mode'}
    return kept | dict(pipeline=[]) if 'pipeline' in kept else kept


def _check_dataset(split: Split, node: dict, cfg, workers: int, limit: int | None, progress: bool):
    where = location(node)
    try:
        dataset = DATASETS.build(node)
        infos = [BaseDataset.get_data_info(dataset, index) for index in range(len(dataset))]
    except (KeyError, TypeError, AttributeError) as error:  # what a wrong config raises
        raise ValueError(
            f'the {split.name} dataset of the config, {node.get("type")!r}, cannot be built or '
            f'holds no list of samples ({type(error).__name__}: {error})'
        ) from error
    except Exception as error:  # what the data made its library raise
        what = f'cannot be loaded, {type(error).__name__}: {error}'
        split.faults += [Fault('unreadable list', where, what), *odd_lines(node, where)]
        return
    if not infos:
        split.faults.append(Fault('unreadable list', where, 'holds no samples'))
        return
    split.task = task_of(infos[0], node)
    names = getattr(dataset, 'metainfo', {}).get('classes')
    number = len(names or ()) or getattr(dataset, 'num_classes', None) or model_classes(cfg)
    split.classes = [str(name) for name in names or [''] * (number or 0)]
    split.samples += len(infos)
    items, probe = _check_list(split, dataset, infos, number, where)
    if limit is not None and limit < len(items):
        spread = np.linspace(0, len(items) - 1, limit).astype(int)
        items = [items[index] for index in spread]
    split.decoded += len(items)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(0)  # a forked process must not wait for threads it has not
    results = map_in_processes(probe, items, workers)
    console = Console(stderr=True)
    title = f'Checking {split.name}'
    try:
        for item, result in track(
            results, title, total=len(items), console=console, disable=not progress
        ):
            if isinstance(result, Failure):
                file = ' or '.join(part for part in np.atleast_1d(item).tolist() if part)
                split.faults.append(Fault('unreadable', file, result.reason))
            elif split.task == 'segmentation':
                split.faults += result[0]
                split.counts.update(result[1])
            else:
                split.faults += result
    finally:
        cv2.setNumThreads(threads)


def _check_list(split: Split, dataset, infos: list[dict], number: int | None, where: str):
    """Checks what needs no decoding; returns what to decode, and the function that does."""
    key = 'filename' if split.task == 'video' else 'img_path'
    paths = [info[key] for info in infos]
    labels = [labels_of(info) for info in infos]  # none where they are pixels
    split.counts.update(label for theirs in labels for label in theirs if label >= 0)
    for path, theirs in zip(paths, labels, strict=True):
        for label in theirs:
            if label < 0 or (number is not None and label >= number):
                what = f'has label {label}; classes are 0..{number - 1 if number else "?"}'
                what = 'has no label in the list' if label == -1 else what
                split.faults.append(Fault('label out of range', path, what))
    files = [os.path.normpath(path) for path in paths]
    times = Counter(files)
    meant: dict[str, set] = {file: set() for file in times if times[file] > 1}
    for file, theirs in zip(files, labels, strict=True):
        if file in meant:
            meant[file].add(theirs)
    for file, several in meant.items():
        other = ', with different labels' if len(several) > 1 else ''
        split.faults.append(Fault('duplicate', file, f'is listed {times[file]} times{other}'))
    if split.task == 'video':
        if find_spec('decord') is None:
            raise ValueError('videos are read with decord, which is missing: pip install decord')
        return paths, probe_video
    if split.task == 'classification':
        return paths, probe_image
    if 'seg_map_path' not in infos[0] and split.name != 'test':
        what = 'no annotations: data_prefix.seg_map_path of the dataset is not set'
        split.faults.append(Fault('no annotation', where, what))
    table = label_table(bool(infos[0].get('reduce_zero_label')), infos[0].get('label_map'))
    split.ignored = getattr(dataset, 'ignore_index', 255)
    meaning = Labels(table, number, split.ignored)
    pairs = [(path, info.get('seg_map_path')) for path, info in zip(paths, infos, strict=True)]
    return pairs, partial(probe_annotated, labels=meaning)


def _absent(split: Split, where: str, limit: int | None) -> list[Fault]:
    if not split.counts or (limit is not None and split.task == 'segmentation'):
        return []
    names = [f' ({name})' if name else '' for name in split.classes]
    return [
        Fault('absent class', where, f'class {label}{name} never occurs')
        for label, name in enumerate(names)
        if not split.counts[label]
    ]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
