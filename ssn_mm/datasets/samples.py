"""Reads the datasets of a config and their samples, whichever library they are of."""

import copy
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from traceback import walk_tb
from typing import Any

import numpy as np

from ..commands import pip_install
from .reading import Fault

_LOADING = re.compile(r'^Load|(Init|Decode)$')
_READERS = {  # modules that loading steps, or their decoders, import; how pip calls them
    'DecordInit': ('decord', 'decord'),
    'PyAVInit': ('av', 'av'),
    'PIMSInit': ('pims', 'pims'),
    'LoadSingleRSImageFromFile': ('osgeo', 'gdal'),
    'tifffile': ('tifffile', 'tifffile'),
    'turbojpeg': ('turbojpeg', 'PyTurboJPEG'),
}
_OTHERS = {  # what samples have that are none of the three, by what they are
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
    if isinstance(node, Mapping) and 'type' not in node:
        node = list(node.values())  # by names
    if isinstance(node, list | tuple):
        for item in node:
            yield from leaves(item, scope)
        return
    inner = node.get('datasets', node.get('dataset'))
    if isinstance(inner, Mapping | list | tuple):
        yield from leaves(inner, node.get('_scope_', scope))
    else:
        yield {'_scope_': scope, **node}


def replace_pipelines(node: Any, pipeline: Sequence) -> None:
    """Sets the pipeline of every dataset inside lists and wrappers, in place."""
    if isinstance(node, list | tuple):
        for item in node:
            replace_pipelines(item, pipeline)
        return
    inner = node.get('datasets', node.get('dataset'))
    if inner is None:
        node['pipeline'] = copy.deepcopy(pipeline)
        return
    if node.get('pipeline'):
        node['pipeline'] = []  # all steps are those of the innermost
    replace_pipelines(inner, pipeline)


def with_outer_steps(node: Any, after: Sequence = ()) -> Any:
    """Datasets and wrappers whose innermost also do the steps of the wrappers, as mmseg's mixes."""
    if isinstance(node, list | tuple):
        return [with_outer_steps(item, after) for item in node]
    if 'type' not in node:  # by names
        return {name: with_outer_steps(item, after) for name, item in node.items()}
    key = 'datasets' if 'datasets' in node else 'dataset'
    skipped = node.get('skip_type_keys') or ()
    own = [step for step in node.get('pipeline') or [] if step['type'] not in skipped]
    steps = [*own, *after]
    if isinstance(node.get(key), Mapping | list | tuple):
        return {**node, key: with_outer_steps(node[key], steps)}
    return {**node, 'pipeline': steps} if after else node


def loading_steps(node: Mapping) -> list:
    """The steps of a dataset's pipeline that read files, by their names."""
    steps = [step for step in node.get('pipeline') or [] if isinstance(step, Mapping)]
    return [step for step in steps if _LOADING.search(type_name(step))]


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
    """Classes of a sample by its list; none if it has no label there, or scores of classes."""
    label: Any = info.get('label', info.get('gt_label'))
    if isinstance(label, int):  # nearly always
        return (label,)
    if label is None or isinstance(label, Mapping):  # of several tasks
        return ()
    numbers = np.atleast_1d(np.asarray(label))
    return tuple(numbers.tolist()) if numbers.dtype.kind in 'iu' else ()


def name_of(info: dict) -> str:
    """The file of a sample, or its folder of frames from where on; '' of one in memory."""
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
    """The dataset without samples whose list mmengine failed on; None if it was another error."""
    if 'need at least one array' not in str(error):
        return None
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    found = [f.f_locals.get('self') for f in frames if f.f_code.co_name == '_serialize_data']
    return next(iter(found), None)


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
