"""Reads the datasets of a config and their samples, whichever library they are of."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .probes import Fault


def type_name(kind: Any) -> str:
    """The bare name of a type of a config: of 'mmseg.Resize', of a class, or of a dict with one."""
    if isinstance(kind, Mapping):
        kind = kind.get('type', '')
    return kind.rpartition('.')[2] if isinstance(kind, str) else kind.__name__


def leaves(node: Any, scope: str) -> Iterator[dict]:
    """The datasets inside lists and wrappers (RepeatDataset, ConcatDataset, ...), in order.

    Args:
        node: The ``dataset`` of a data loader: a dict, or a list of some.
        scope: Registry in which types are looked up where a node does not say it itself.

    Yields:
        A copy of each innermost node with all its settings, its pipeline and ``_scope_`` included.
    """
    if isinstance(node, list | tuple):
        for item in node:
            yield from leaves(item, scope)
        return
    inner = node.get('datasets', node.get('dataset'))
    if inner is not None:
        yield from leaves(inner, node.get('_scope_', scope))
    else:
        yield {'_scope_': scope, **node}


def task_of(info: dict, node: dict) -> str:
    """What a sample is for: 'classification', 'segmentation' or 'video'."""
    if 'filename' in info and 'label' in info:
        return 'video'
    if 'img_path' in info:
        return 'segmentation' if 'seg_map_path' in info or 'label_map' in info else 'classification'
    raise ValueError(
        f'{node.get("type")!r} is no dataset of image files for classification or segmentation, '
        f'nor of videos: its samples have {", ".join(map(str, info))}'
    )


def labels_of(info: dict) -> tuple[int, ...]:
    """Classes of a sample by its list; none if it has no label there."""
    label: Any = info.get('label', info.get('gt_label'))
    if isinstance(label, int):  # nearly always
        return (label,)
    return () if label is None else tuple(np.atleast_1d(np.asarray(label)).tolist())


def location(node: dict) -> str:
    """The list that a dataset reads, or its folder."""
    prefix = node.get('data_prefix') or node.get('split') or ''
    first = next(iter(prefix.values()), '') if isinstance(prefix, dict) else prefix
    return os.path.join(node.get('data_root') or '', node.get('ann_file') or first or '')


def odd_lines(node: dict, where: str) -> Iterator[Fault]:
    """Lines of a list that are not `FILE LABEL`, such as those of files with a space."""
    if not node.get('ann_file') or not where.endswith('.txt') or not os.path.isfile(where):
        return
    with open(where, errors='replace') as lines:
        for number, line in enumerate(lines, 1):
            _, *labels = line.strip().split(node.get('delimiter', ' '))
            if not labels or not all(label.lstrip('-').isdigit() for label in labels):
                what = f'line {number} is {line.strip()!r}, not `FILE LABEL`'
                yield Fault('unreadable list', where, what)
