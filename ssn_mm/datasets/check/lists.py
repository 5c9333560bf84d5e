"""What is wrong with the lists of a config's datasets, which tell it without decoding."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ..reading import Fault
from ..sample_info import labels_of

_BY_FOLDERS = {'BaseSegDataset', 'CustomDataset'}  # where they have no list
_PICTURES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff', '.ppm', '.pgm')


def list_faults(
    infos: list[dict], titles: list[str], number: int | None, split: str
) -> tuple[Counter, list[Fault]]:
    """Counts the samples of each class, and finds labels that are no class and files listed twice.

    Args:
        infos: What the list says of each sample.
        titles: The file of each sample, or what stands for it.
        number: Number of classes; None if unknown.
        split: 'train', 'val' or 'test'; only a test needs no labels.

    Returns:
        Number of samples by label, and the faults.
    """
    counts: Counter = Counter()
    faults = []
    labels = [labels_of(info) for info in infos]  # empty where the labels are pixels
    for title, theirs in zip(titles, labels, strict=True):
        counts.update(label for label in theirs if label >= 0)
        for label in theirs:
            if label == -1 and split == 'test':
                continue
            if label < 0 or (number is not None and label >= number):
                what = f'has label {label}; classes are 0..{number - 1 if number else "?"}'
                what = 'has no label in the list' if label == -1 else what
                faults.append(Fault('label out of range', title, what))
    files = [os.path.normpath(title) for title in titles]
    times = Counter(files)
    meant: dict[str, set] = {file: set() for file in times if times[file] > 1}
    for file, theirs in zip(files, labels, strict=True):
        if file in meant:
            meant[file].add(theirs)
    for file, several in meant.items():
        other = ', with different labels' if len(several) > 1 else ''
        faults.append(Fault('duplicate', file, f'is listed {times[file]} times{other}'))
    return counts, faults


def absent(classes: list[str], counts: Counter, where: str) -> list[Fault]:
    """Faults of classes that never occur among what was counted."""
    names = [f' ({name})' if name else '' for name in classes]
    return [
        Fault('absent class', where, f'class {label}{name} never occurs')
        for label, name in enumerate(names)
        if counts and not counts[label]
    ]


def compare_classes(
    split: str, own: Mapping, where: str, before: list[tuple[str, Mapping]]
) -> tuple[list[Fault], list[Fault]]:
    """Compares the classes of a dataset with those of the first dataset that has names for them.

    mmpretrain numbers classes by the order of their folders, so that a folder that is missing
    shifts all that come after it. Where not one name is in both, the names may be of two kinds.

    Args:
        split: The split of the dataset.
        own: The dataset's ``metainfo``.
        where: The dataset's list or folder.
        before: Split and ``metainfo`` of the datasets before it; this one is added.

    Returns:
        The faults, and the notes.
    """
    names = [str(name) for name in own.get('classes') or ()]
    other, theirs = next(((s, m) for s, m in before if m.get('classes')), ('', {}))
    before.append((split, own))
    expected = [str(name) for name in theirs.get('classes') or ()]
    found: tuple[list[Fault], list[Fault]] = [], []
    if not (names and expected):
        return found
    if told := _differences(names, expected, other):
        of_two_kinds = len(names) == len(expected) and not set(names) & set(expected)
        found[of_two_kinds].append(Fault('other classes', where, '; '.join(told)))
    colours = [np.asarray(meta.get('palette') or ()).tolist() for meta in (own, theirs)]
    if names == expected and all(colours) and colours[0] != colours[1]:
        what = f'are painted in other colours than those of {other}: palette of metainfo'
        found[1].append(Fault('other colours', where, what))
    reduced, by_them = own.get('reduce_zero_label'), theirs.get('reduce_zero_label')
    if None not in (reduced, by_them) and reduced != by_them:
        what = f'reduce_zero_label is {reduced} here and {by_them} in {other}'
        found[0].append(Fault('other classes', where, what))
    return found


def _differences(names: list[str], expected: list[str], other: str) -> list[str]:
    """What is different between the names of two splits' classes, letters' case apart."""
    told = []
    if len(names) != len(expected):
        told.append(f'{len(names)} classes here and {len(expected)} in {other}')
    ours, theirs = ({name.casefold() for name in each} for each in (names, expected))
    for what, some in (('lacks', theirs - ours), ('adds', ours - theirs)):
        if some:
            told.append(f'{what} {", ".join(sorted(some)[:5])}')
    for label, (here, there) in enumerate(zip(names, expected, strict=False)):
        if here.casefold() != there.casefold():
            return [*told, f'label {label} is {here} here and {there} there']
    return told


def repeated(listed: Mapping[str, Iterable[str]], name: str) -> list[Fault]:
    """Notes of files that a split has in common with a split before it."""
    own = {os.path.normpath(file) for file in listed[name] if file}
    notes = []
    for other in listed:
        shared = sorted(own & {os.path.normpath(file) for file in listed[other] if file})
        if other != name and shared:
            what = f'is in {other}, too' + (f', as {len(shared) - 1} others' if shared[1:] else '')
            notes.append(Fault('in two splits', shared[0], what))
    return notes


def unread(dataset: Any, infos: list[dict]) -> list[Fault]:
    """Notes of pictures and annotations that lie in a dataset's folders and are not read.

    There are none for a dataset that reads a list.
    """
    prefix = getattr(dataset, 'data_prefix', None) or {}
    by_folders = {base.__name__ for base in type(dataset).__mro__} & _BY_FOLDERS
    if not by_folders or dataset.ann_file or dataset._indices is not None:
        return []
    notes = []
    suffix = getattr(dataset, 'seg_map_suffix', '').lower()
    endings: dict[str, Any] = {'img_path': _PICTURES, 'seg_map_path': suffix}
    for key, ending in endings.items():
        folder = prefix.get(key)
        if not folder or not ending or not os.path.isdir(folder):
            continue
        read = {os.path.normpath(str(info[key])) for info in infos if info.get(key)}
        left = [file for file in _files_in(folder, ending) if file not in read]
        if left and not (key == 'seg_map_path' and not read):
            what = f'is not read, by its name; nor are {len(left) - 1} others below {folder}'
            notes.append(
                Fault('not read', left[0], what if left[1:] else 'is not read, by its name')
            )
    return notes


def _files_in(folder: str, endings: str | tuple[str, ...]) -> Iterator[str]:
    for place, folders, names in os.walk(folder, followlinks=True):
        folders.sort()
        for name in sorted(names):
            if name.lower().endswith(endings):
                yield os.path.normpath(os.path.join(place, name))
