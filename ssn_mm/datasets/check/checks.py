"""Verifies the data of a config, every sample of it, before a long training."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS
from rich.console import Console
from rich.progress import track

from ..nested import datasets_of, loading_steps, type_name
from ..pool import Failure, map_in_processes
from ..reading import Fault
from ..sample_info import check_readers, empty_dataset, location, name_of, odd_lines, task_of
from .lists import absent, compare_classes, list_faults, repeated, unread
from .preflight import check_datasets
from .probes import Finding, Probe
from .sample_check import SampleCheck

SPLITS = ('train', 'val', 'test')
UNITS = {'classification': 'images', 'segmentation': 'pixels', 'video': 'videos'}


@dataclass
class Split:
    """What a check has found in one split.

    Args:
        name: 'train', 'val' or 'test'.
        same_as: Name of an earlier split with the same data, which is not checked again; '' if
            there is none.
        task: 'classification', 'segmentation' or 'video'; '' if nothing could be loaded.
        samples: Number of samples.
        decoded: Number of samples that were decoded, fewer with a limit.
        classes: Names of the classes; empty strings where only their number is known.
        counts: Number of images, pixels or videos by label; the ignored label included.
        faults: What would stop or spoil a training.
        notes: What a training does not mind, and the data's owner may.
        ignored: The label of pixels that no loss counts; None if the task has no pixels.
    """

    name: str
    same_as: str = ''
    task: str = ''
    samples: int = 0
    decoded: int = 0
    classes: list[str] = field(default_factory=list)
    counts: Counter = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)
    notes: list[Fault] = field(default_factory=list)
    ignored: int | None = None


@dataclass(frozen=True)
class _Options:
    workers: int
    limit: int | None
    progress: bool


def check(
    cfg,
    splits: Sequence[str] | None = None,
    workers: int | None = None,
    limit: int | None = None,
    progress: bool = True,
) -> list[Split]:
    """Loads each dataset of a config and reads its samples by its own pipeline, in parallel.

    Args:
        cfg: An mmengine config.
        splits: Some of 'train', 'val' and 'test'; None is all that the config has.
        workers: Number of processes that decode; None is the number of CPU cores.
        limit: Number of samples of a dataset to decode, evenly spread; None is all. With a limit
            classes that never occur in annotations are not told. Lists are always checked in full.
        progress: Whether to show a progress bar (on stderr).

    Raises:
        DatasetMissingError: A folder or list is missing, see ``check_datasets``.
        ValueError: An argument is out of range, or a dataset cannot be built or is none of image
            classification, semantic segmentation and video recognition.
    """
    there = [name for name in SPLITS if cfg.get(f'{name}_dataloader')]
    for option, value in (('workers', workers), ('limit', limit)):
        if value is not None and value < 1:
            raise ValueError(f'{option} must be at least 1, got {value}')
    for name in splits or []:
        if name not in there:
            has = ', '.join(there) or 'none'
            raise ValueError(f'the config has no {name}_dataloader; it has {has}')
    names = [name for name in there if name in (splits or there)]
    if not names:
        raise ValueError('the config has no train_dataloader, val_dataloader or test_dataloader')
    check_datasets(cfg, tuple(names))
    options = _Options(workers or _cores(), limit, progress)
    found: list[Split] = []
    before: dict[str, list[Any]] = {}  # what each split reads
    meta: list[tuple[str, Mapping]] = []  # what each dataset says of its classes
    listed: dict[str, list[str]] = {}  # the files of each split
    for name in names:
        nodes = _nodes(cfg, name)
        reads = [(_bare(node), loading_steps(node)) for node in nodes]
        same = next((other for other, theirs in before.items() if theirs == reads), '')
        split = Split(name, same_as=same)
        if not same:
            before[name], listed[name] = reads, []
            for node in nodes:
                listed[name] += _check_dataset(split, node, cfg, options, meta)
            if limit is None or split.task != 'segmentation':  # else some were not counted
                split.faults += absent(split.classes, split.counts, location(nodes[0]))
            split.faults.sort(key=lambda fault: (fault.kind, fault.file))
            split.notes += repeated(listed, name)
        found.append(split)
    return found


def _nodes(cfg, name: str) -> list[dict]:
    """The datasets of a split.

    Raises:
        ValueError: There is none.
    """
    nodes = datasets_of(cfg, name)
    if not nodes:
        raise ValueError(f'{name}_dataloader of the config has no dataset')
    return nodes


def _bare(node: dict) -> dict:
    return {key: value for key, value in node.items() if key != 'pipeline'}


def _check_dataset(
    split: Split, node: dict, cfg, options: _Options, meta: list[tuple[str, Mapping]]
) -> list[str]:
    """Checks a dataset; returns the files that it lists, '' for those in memory."""
    where = location(node)
    dataset, infos = _load(split, node, where)
    if not infos:
        return []
    split.task = task_of(infos[0], node)
    check = SampleCheck.of(cfg, training=split.name == 'train')
    own = getattr(dataset, 'metainfo', None) or {}
    faults, notes = compare_classes(split.name, own, where, meta)
    split.faults += faults
    split.notes += notes
    number = _number(own, dataset, check)
    names = own.get('classes') or [''] * (number or 0)
    split.classes = [str(name) for name in names]
    split.ignored = check.ignored[0] if split.task == 'segmentation' else None
    split.samples += len(infos)
    files = [name_of(info) for info in infos]
    titles = [file or f'sample {index} of {where}' for index, file in enumerate(files)]
    counted, faults = list_faults(infos, titles, number, split.name)
    split.counts.update(counted)
    split.faults += faults
    if split.task == 'segmentation' and 'seg_map_path' not in infos[0] and split.name != 'test':
        what = 'no annotations: data_prefix.seg_map_path of the dataset is not set'
        split.faults.append(Fault('no annotation', where, what))
    _read(split, Probe(dataset, split.task, check, number), titles, options)
    return files


def _load(split: Split, node: dict, where: str) -> tuple[Any, list[dict]]:
    """Builds a dataset; returns it, and what its list says of each sample.

    A list that cannot be read, or has no samples, is a fault of the split.

    Raises:
        ValueError: The config of the dataset is wrong, or a package that it reads with is missing.
    """
    check_readers(loading_steps(node))
    try:
        dataset = _build(node)
        infos = [_info(dataset, index) for index in range(len(dataset))]
    except (KeyError, TypeError, AttributeError, ImportError) as error:  # a wrong config's
        raise ValueError(
            f'the {split.name} dataset of the config, {type_name(node)!r}, cannot be built or '
            f'holds no list of samples ({type(error).__name__}: {error})'
        ) from error
    except Exception as error:  # what the data made its library raise
        what = f'cannot be loaded, {type(error).__name__}: {error}'
        split.faults += [Fault('unreadable list', where, what), *odd_lines(node, where)]
        return None, []
    split.notes += unread(dataset, infos)
    if not infos:
        split.faults.append(Fault('unreadable list', where, 'holds no samples'))
    return dataset, infos


def _read(split: Split, probe: Probe, titles: list[str], options: _Options) -> None:
    """Reads samples in processes, and takes what is found into a split."""
    items = np.arange(len(titles))
    if options.limit is not None and options.limit < len(items):
        items = np.linspace(0, len(items) - 1, options.limit).astype(int)
    split.decoded += len(items)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(0)  # a forked process must not wait for threads it has not
    longest = 3600 if split.task == 'video' else 300  # seconds; decoders may hang
    results = map_in_processes(probe, items.tolist(), options.workers, longest)
    console = Console(stderr=True)
    title = f'Checking {split.name}'
    try:
        for index, result in track(
            results, title, total=len(items), console=console, disable=not options.progress
        ):
            if isinstance(result, Failure):
                result = Finding([Fault('unreadable', titles[index], result.reason)])
            split.counts.update(result.counts)
            split.notes += result.notes
            split.faults += [
                fault  # those of a list are told already
                for fault in result.faults
                if split.task == 'segmentation' or fault.kind != 'label out of range'
            ]
    finally:
        cv2.setNumThreads(threads)


def _build(node: dict) -> Any:
    try:
        return DATASETS.build(node)
    except ValueError as error:
        if empty_dataset(error) is None:
            raise
        return DATASETS.build(node | dict(serialize_data=False))  # mmengine fails on an empty list


def _info(dataset: Any, index: int) -> dict:
    """What the list of a dataset says of a sample, labels as numbers."""
    if isinstance(dataset, BaseDataset):
        return BaseDataset.get_data_info(dataset, index)
    return dataset.get_data_info(index)


def _number(own: Mapping, dataset: Any, check: SampleCheck) -> int | None:
    """How many classes there are, by the dataset's names for them and by the network.

    A network of one channel tells two, whether both have names or not.
    """
    named = len(own.get('classes') or ()) or getattr(dataset, 'num_classes', None)
    numbers = [number for number in (named, check.classes) if number]
    if named == 1 and check.classes == 2:
        return 2
    return min(numbers, default=None)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
