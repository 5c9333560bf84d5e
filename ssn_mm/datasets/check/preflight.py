"""Looks for the real datasets before anything is built, and says how to get what is missing."""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ...commands import command, pip_install, quoted
from ..missing import DatasetMissingError
from ..nested import datasets_of, type_name


@dataclass(frozen=True)
class Source:
    """Where a dataset comes from and how it lies on disk.

    Args:
        type: The dataset's type in a config.
        title: Its name and size.
        steps: How to get it; ``{link}`` stands for the command that links it.
        layout: How its files lie below ``{root}``.
        demo: A config of the same kind of network on embedded data.
        within: A part of its paths, if datasets of this type need not be this one.
        suffixes: Endings of its files by the key of ``data_prefix``.
    """

    type: str
    title: str
    steps: str
    layout: str
    demo: str
    within: str = ''
    suffixes: dict[str, str] = field(default_factory=dict, hash=False)


_SEGMENTATION_DEMO = 'ssn_mm::demo/deeplab_ssn_digits.py'
_DATA = {  # endings of files of pictures, arrays and videos
    '.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff', '.ppm', '.pgm', '.npy', '.npz',
    '.mp4', '.avi', '.mkv', '.mov', '.webm', '.mpg', '.mpeg', '.m4v',
}  # fmt: skip
_VIDEO_DEMO = 'ssn_mm::demo/i3d_ssn_digits.py'

SOURCES = (  # the first that fits counts
    Source(
        type='ADE20KDataset',
        title='ADE20K (SceneParse150: 20210 training and 2000 validation images)',
        steps='Get it from http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip '
        '(about 1 GB; terms of use: https://ade20k.csail.mit.edu), and unpack or link it there: '
        '{link}',
        layout="""{root}/
    images/training/ADE_train_00000001.jpg ...
    images/validation/ADE_val_00000001.jpg ...
    annotations/training/ADE_train_00000001.png ...    0: other, 1..150: the classes
    annotations/validation/ADE_val_00000001.png ...""",
        demo=_SEGMENTATION_DEMO,
    ),
    Source(
        type='CityscapesDataset',
        title='Cityscapes (2975 training and 500 validation images)',
        steps='Get leftImg8bit_trainvaltest.zip (11 GB) and gtFine_trainvaltest.zip (241 MB) from '
        'https://www.cityscapes-dataset.com (free registration), and unpack or link them there: '
        '{link}\n'
        'The *_labelTrainIds.png are not in it, mmsegmentation draws them: '
        '{install} && {draw}',
        layout="""{root}/
    leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png ...
    leftImg8bit/val/frankfurt/frankfurt_000000_000294_leftImg8bit.png ...
    gtFine/train/aachen/aachen_000000_000019_gtFine_labelTrainIds.png ...    0..18, 255: ignored
    gtFine/val/frankfurt/frankfurt_000000_000294_gtFine_labelTrainIds.png ...""",
        demo=_SEGMENTATION_DEMO,
        suffixes={'img_path': '_leftImg8bit.png', 'seg_map_path': '_gtFine_labelTrainIds.png'},
    ),
    Source(
        type='ImageNet',
        title='ImageNet (ILSVRC 2012: 1281167 training and 50000 validation images)',
        steps='Get ILSVRC2012_img_train.tar (138 GB) and ILSVRC2012_img_val.tar (6.3 GB) from '
        'https://www.image-net.org/download.php (free registration), unpack the tar of each class '
        'into a folder of its name, sort the validation images into such folders, and link them: '
        '{link}',
        layout="""{root}/
    train/n01440764/n01440764_10026.JPEG ...    1000 folders, one a class
    val/n01440764/ILSVRC2012_val_00000293.JPEG ...
or all images in train/ and val/, and meta/train.txt and meta/val.txt with lines `FILE LABEL`""",
        demo='ssn_mm::demo/resnet_ssn_digits.py',
    ),
    Source(
        type='VideoDataset',
        within='kinetics400',
        title='Kinetics-400 (about 240000 training and 20000 validation videos)',
        steps='Get the videos from https://github.com/cvdfoundation/kinetics-dataset (about '
        '450 GB), and unpack or link them there: {link}\n'
        "The lists have a line `FILE LABEL` a video; mmaction2's "
        'tools/data/kinetics/generate_videos_filelist.sh writes them.',
        layout="""{root}/
    videos_train/abseiling/-3B32lodo2M_000059_000069.mp4 ...
    videos_val/abseiling/0wR5jVB-WPk_000417_000427.mp4 ...
    kinetics400_train_list_videos.txt    abseiling/-3B32lodo2M_000059_000069.mp4 0 ...
    kinetics400_val_list_videos.txt""",
        demo=_VIDEO_DEMO,
    ),
    Source(
        type='VideoDataset',
        title='The video dataset of this config',
        steps='Put the videos and their list there, or say where they are: data_root, '
        'data_prefix.video and ann_file of the dataset.',
        layout="""folder of data_prefix.video/    any folders below
list of ann_file    a line `FILE LABEL` a video, FILE relative to that folder""",
        demo=_VIDEO_DEMO,
    ),
)


def check_datasets(cfg, loaders: tuple[str, ...] = ('train', 'val')) -> None:
    """Checks that the folders and lists a config's datasets read are there and not empty.

    Datasets that are read by another client than the disk's, or not at all, are left alone.

    Args:
        cfg: An mmengine config. Datasets of a type not in ``SOURCES`` are left to their library.
        loaders: Which of the config's ``*_dataloader`` to check; by default what a training reads.

    Raises:
        DatasetMissingError: Some are missing or empty; says which, the layout that is
            expected, where the dataset comes from, and a demo that needs none.
        ValueError: A list names a file outside of the folders that its dataset reads.
    """
    missing: dict[tuple[Source, str], set[str]] = {}
    for dataset in [node for name in loaders for node in datasets_of(cfg, name)]:
        if type_name(dataset) == 'SolarCells':
            from ..solar_cells import find_cells

            find_cells(dataset.get('data_root', ''))
            continue
        if not {'data_root', 'data_prefix', 'ann_file'} & dataset.keys():
            continue
        paths = _paths(dataset)
        if _is_elsewhere(dataset, paths):
            continue
        _check_list(dict(paths), dataset.get('data_root'))
        source = _source(dataset, paths)
        if source is None:
            continue
        gone = {path for key, path in paths if not _is_there(path, _suffix(source, dataset, key))}
        if gone:
            root = dataset.get('data_root') or os.path.commonpath(
                [os.path.abspath(path) for _, path in paths]
            )
            missing.setdefault((source, str(Path(root))), set()).update(gone)
    if missing:
        raise DatasetMissingError(
            '\n\n'.join(
                f'{source.title} is not complete.\n'
                f'Missing or empty: {", ".join(sorted(paths))}\n'
                f'Expected layout:\n{source.layout.format(root=root)}\n'
                f'{_steps_to_get(source, root)}\n'
                'Without it, this trains the same kind of network on embedded data:\n'
                f'    {command("train.py", source.demo)}'
                for (source, root), paths in missing.items()
            )
        )


def _steps_to_get(source: Source, root: str) -> str:
    draw = command('mmseg::dataset_converters/cityscapes.py', Path(root), '--nproc', '8')
    install = pip_install('cityscapesscripts')
    link = f'ln -s WHERE_IT_IS {quoted(root)}'
    if sys.platform == 'win32':  # a command of cmd, for who may make links
        link = f'mklink /D {quoted(root)} WHERE_IT_IS'
    return source.steps.format(link=link, install=install, draw=draw)


def _source(dataset: dict, paths: list[tuple[str, str]]) -> Source | None:
    kind = type_name(dataset)
    for source in SOURCES:
        if source.type == kind and any(source.within in path for _, path in paths):
            return source
    return None


def _paths(dataset: dict) -> list[tuple[str, str]]:
    """The folders and the list that a dataset reads, each after its key in the config."""
    root = os.path.expanduser(dataset.get('data_root') or '')  # as mmpretrain does
    prefix = dataset.get('data_prefix') or dataset.get('split') or ''
    prefixes = dict(prefix) if isinstance(prefix, dict) else {'img_path': prefix}
    if not _reads_annotations(dataset):
        prefixes.pop('seg_map_path', None)
    paths = [(key, os.path.join(root, path or '')) for key, path in prefixes.items()]
    if dataset.get('ann_file'):
        paths.append(('ann_file', os.path.join(root, dataset['ann_file'])))
    return paths


def _steps(dataset: dict) -> list[dict]:
    return [step for step in dataset.get('pipeline') or () if isinstance(step, dict)]


def _reads_annotations(dataset: dict) -> bool:
    """Whether the dataset's pipeline has a step for annotations; a test without labels has none."""
    steps = [type_name(step) for step in _steps(dataset)]
    return not steps or any('Load' in step and 'Annotation' in step for step in steps)


def _is_elsewhere(dataset: dict, paths: list[tuple[str, str]]) -> bool:
    """Whether files are not on a disk of this machine (petrel, lmdb, http, ...)."""
    named = []
    for owner in (dataset, *_steps(dataset)):
        options = [owner, owner.get('backend_args'), owner.get('file_client_args')]
        named += [o.get('io_backend') for o in options if isinstance(o, dict)]
        named += [o.get('backend') for o in options[1:] if isinstance(o, dict)]
    other = any(name not in (None, 'disk', 'local') for name in named)
    return other or any('://' in path for _, path in paths)


def _check_list(paths: dict[str, str], data_root: str | None) -> None:
    """Refuses a list that leads to other files of this machine than its data.

    It may name pictures, videos and folders of frames by absolute paths.

    Raises:
        ValueError: It names a file outside of the folders that the dataset reads.
    """
    listing = paths.pop('ann_file', '')
    folders = [path for path in paths.values() if path]
    if not folders or not os.path.isfile(listing):
        return  # no folder is said to be the data's
    roots = [os.path.abspath(path) for path in (*folders, data_root) if path]
    for place, name in _listed(listing):
        if not os.path.isabs(name) and '..' not in name:
            continue
        file = os.path.join(roots[0], name)
        if not (_is_meant(name) or _is_inside(os.path.abspath(file), roots)):
            real = os.path.join(os.path.realpath(os.path.dirname(file)), os.path.basename(file))
            if not _is_inside(real, [os.path.realpath(root) for root in roots]):
                raise ValueError(
                    f'{listing}, {place}: {name!r} lies outside of {roots[0]}, the folder that the '
                    'dataset reads; correct the list, or data_root and data_prefix of the dataset'
                )


def _is_meant(name: str) -> bool:
    """Whether a name is an absolute path of data."""
    ending = os.path.splitext(name)[1].lower()
    return os.path.isabs(name) and (ending in _DATA if ending else os.path.isdir(name))


def _is_inside(file: str, roots: list[str]) -> bool:
    return any(Path(file).is_relative_to(root) for root in roots)


def _listed(listing: str) -> Iterator[tuple[str, str]]:
    """Files of a list, each with its place there: of lines `FILE LABEL`, or mmengine's JSON."""
    if listing.endswith('.json'):
        try:
            with open(listing, encoding='utf-8') as opened:
                content = json.load(opened)
        except ValueError:  # its library tells what is wrong with it
            return
        infos = content.get('data_list') if isinstance(content, dict) else content
        for number, info in enumerate(infos or ()):
            for key in ('img_path', 'seg_map_path', 'filename', 'frame_dir'):
                if isinstance(info, dict) and isinstance(info.get(key), str):
                    yield f'sample {number}', info[key]
    elif listing.endswith('.txt'):
        with open(listing, encoding='utf-8', errors='replace') as opened:
            for number, line in enumerate(opened, 1):
                if line.strip():
                    yield f'line {number}', line.split()[0]


def _suffix(source: Source, dataset: dict, key: str) -> str:
    setting = {'img_path': 'img_suffix', 'seg_map_path': 'seg_map_suffix'}.get(key, '')
    return dataset.get(setting) or source.suffixes.get(key, '')


def _is_there(path: str, suffix: str) -> bool:
    if os.path.isfile(path):
        return os.path.getsize(path) > 0
    walk = os.walk(path or '.', followlinks=True)  # yields nothing for a folder that is not there
    return any(name.endswith(suffix) for _, _, names in walk for name in names)
