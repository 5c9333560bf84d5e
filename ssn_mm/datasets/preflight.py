"""Looks for the real datasets before anything is built, and says how to get what is missing."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Source:
    """Where a dataset comes from and how it lies on disk."""

    title: str
    url: str
    layout: str
    demo: str


SOURCES = {
    'ADE20KDataset': Source(
        title='ADE20K (SceneParse150: 20210 training and 2000 validation images)',
        url='http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip '
        '(about 1 GB; terms of use: https://ade20k.csail.mit.edu)',
        layout="""{root}/
    images/training/ADE_train_00000001.jpg ...
    images/validation/ADE_val_00000001.jpg ...
    annotations/training/ADE_train_00000001.png ...    0: other, 1..150: the classes
    annotations/validation/ADE_val_00000001.png ...""",
        demo='python tools/train.py configs/demo/deeplab_ssn_digits.py',
    ),
}


class DatasetMissingError(FileNotFoundError):
    """A dataset that a config needs is not on disk."""


def check_datasets(cfg, loaders: tuple[str, ...] = ('train', 'val', 'test')) -> None:
    """Checks that the folders a config's datasets read from are there and not empty.

    Args:
        cfg: An mmengine config. Datasets of a type not in ``SOURCES`` are left to their library.
        loaders: Which of the config's ``*_dataloader`` to check.

    Raises:
        DatasetMissingError: Folders are missing or empty; says which, the layout that is
            expected, where the dataset comes from, and a demo that needs none.
    """
    missing: dict[tuple[str, Path], set[Path]] = {}
    for dataset in _datasets([cfg.get(f'{name}_dataloader') for name in loaders]):
        if dataset['type'] in SOURCES:
            root = Path(dataset.get('data_root') or '')
            folders = {root / prefix for prefix in dataset['data_prefix'].values()}
            gone = {folder for folder in folders if not any(folder.glob('*'))}
            if gone:
                missing.setdefault((dataset['type'], root), set()).update(gone)
    if missing:
        (kind, root), folders = next(iter(missing.items()))
        source = SOURCES[kind]
        raise DatasetMissingError(
            f'{source.title} is not complete.\n'
            f'Missing or empty: {", ".join(sorted(map(str, folders)))}\n'
            f'Expected layout:\n{source.layout.format(root=root)}\n'
            f'Get it from {source.url}, and unpack or link it there: ln -s WHERE_IT_IS {root}\n'
            f'Without it, this trains the same network on embedded data: {source.demo}'
        )


def _datasets(node) -> Iterator[dict]:
    """Yields every dict that looks like a dataset, wrapped ones (RepeatDataset, ...) included."""
    if isinstance(node, list | tuple):
        for item in node:
            yield from _datasets(item)
    elif isinstance(node, dict):
        if 'data_prefix' in node and isinstance(node.get('type'), str):
            yield node
        for value in node.values():
            yield from _datasets(value)
