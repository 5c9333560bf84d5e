"""What a dataset says of its samples, whichever library it is of, and what its list says."""

import os
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from traceback import walk_tb
from typing import Any

import numpy as np

from ..commands import pip_install
from .nested import type_name
from .reading import Fault

_READERS = {  # modules that loading steps, or their decoders, import; how pip calls them
    'DecordInit': ('decord', 'decord'),
    'PyAVInit': ('av', 'av'),
    'PIMSInit': ('pims', 'pims'),
    'LoadSingleRSImageFromFile': ('osgeo', 'gdal'),
    'tifffile': ('tifffile', 'tifffile'),
    'turbojpeg': ('turbojpeg', 'PyTurboJPEG'),
}
_OTHERS = {  # keys of samples that are for none of the three tasks, by what these samples are
    'skeletons': ('keypoint',),
    'sound': ('audio_path',),
    'features of videos': ('feature_path', 'video_name'),
    'images or videos with text': (
        'gt_caption', 'caption', 'caption_options', 'text', 'query_tokens', 'question',
        'conversation', 'gt_answer',
    ),
    'actions in space and time': ('entity_ids', 'img_key'),
    'depth maps': ('depth_map_path',),
    'boxes': ('instances', 'gt_bboxes'),
}  # fmt: skip


def check_readers(steps: Iterable[Mapping]) -> None:
    """Checks that the packages are there which loading steps of a config read with.

    Raises:
        ValueError: One is missing; says how to install it.
    """
    for step in steps:
        for name in (type_name(step), str(step.get('imdecode_backend'))):
            module, package = _READERS.get(name, ('', ''))
            if module and find_spec(module) is None:
                raise ValueError(
                    f'{type_name(step)} of the config reads with {module}, which is missing: '
                    f'{pip_install(package)}'
                )


def task_of(info: dict, node: dict) -> str:
    """What a sample is for: 'classification', 'segmentation' or 'video'.

    Raises:
        ValueError: Something else.
    """
    if 'img_path' in info and 'gt_label' in info and 'seg_map_path' not in info:
        return 'classification'  # whatever else its list has
    for kind, keys in _OTHERS.items():
        if found := [key for key in keys if key in info]:
            raise ValueError(
                f'{type_name(node)!r} is a dataset of {kind}, by the {found[0]!r} of its samples; '
                'what is checked are images of classes, semantic segmentation, videos of classes'
            )
    if 'filename' in info or 'frame_dir' in info:
        return 'video'
    if 'img_path' in info or 'img' in info:
        return 'segmentation' if 'seg_map_path' in info or 'label_map' in info else 'classification'
    raise ValueError(
        f'{type_name(node)!r} is no dataset of images for classification or segmentation, '
        f'nor of videos: its samples have {", ".join(map(str, info)) or "nothing"}'
    )


def labels_of(info: dict) -> tuple[int, ...]:
    """The labels of a sample in its list; none if it has no label there, or scores of classes."""
    label: Any = info.get('label', info.get('gt_label'))
    if isinstance(label, int):  # nearly always
        return (label,)
    if label is None or isinstance(label, Mapping):  # labels of several tasks
        return ()
    numbers = np.atleast_1d(np.asarray(label))
    return tuple(numbers.tolist()) if numbers.dtype.kind in 'iu' else ()


def name_of(info: dict) -> str:
    """The file of a sample, or its folder of frames and the first; '' if it is in memory."""
    name = info.get('img_path') or info.get('filename') or info.get('frame_dir') or ''
    offset = info.get('offset')
    return f'{name} from frame {offset}' if offset else str(name)


def location(node: dict) -> str:
    """The list that a dataset reads, or its folder."""
    prefix = node.get('data_prefix') or node.get('split') or ''
    first = next(iter(prefix.values()), '') if isinstance(prefix, dict) else prefix
    path = os.path.join(node.get('data_root') or '', node.get('ann_file') or first or '')
    return path.rstrip('/') or path


def empty_dataset(error: BaseException) -> Any:
    """The dataset without samples at whose list mmengine failed; None if it was another error."""
    if 'need at least one array' not in str(error):
        return None
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    found = [f.f_locals.get('self') for f in frames if f.f_code.co_name == '_serialize_data']
    return next(iter(found), None)


def odd_lines(node: dict, where: str) -> Iterator[Fault]:
    """Yields a fault for each line of a list that is not `FILE LABEL`, as names with a space."""
    if not node.get('ann_file') or not where.endswith('.txt') or not os.path.isfile(where):
        return
    with open(where, encoding='utf-8', errors='replace') as lines:
        for number, line in enumerate(lines, 1):
            _, *labels = line.strip().split(node.get('delimiter', ' '))
            if not labels or not all(label.lstrip('-').isdigit() for label in labels):
                what = f'line {number} is {line.strip()!r}, not `FILE LABEL`'
                yield Fault('unreadable list', where, what)
