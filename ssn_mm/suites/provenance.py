"""What a result depends on, as short hashes: the code, the config, the libraries and the data."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from mmengine.config import Config

from ..config_files import entries
from ..datasets.nested import datasets_of
from ..weights.files import read_weights
from .definitions import definitions

PACKAGE = Path(__file__).parents[1]
# packages and files that no training executes, and the commands that do
NOT_TRAINING = {'apis', 'cli', 'deploy', 'publish', 'suites', 'timing', 'visualization'}
NOT_TRAINING |= {'renamed.py', 'version.py', 'registration.py'}
TABLES = ('engine/__init__.py', 'datasets/__init__.py')  # names of modules, which may move
COMMANDS = ('arguments', 'config', 'evaluation_config', 'outputs', 'test', 'tool', 'train')
LIBRARIES = {  # those that train, and those that decode; with other names that a wheel may have
    'torch': (),
    'torchvision': (),
    'mmengine': ('onedl-mmengine',),
    'mmcv': ('mmcv-lite', 'onedl-mmcv'),
    'mmsegmentation': ('onedl-mmsegmentation',),
    'mmaction2': (),
    'mmpretrain': ('onedl-mmpretrain',),
    'numpy': (),
    'opencv-python': ('opencv-python-headless', 'opencv-contrib-python'),
    'pillow': (),
}
VERSIONED = {  # modules of these, and our own
    'ssn_mm',
    'torch',
    'torchvision',
    'mmengine',
    'mmcv',
    'mmseg',
    'mmaction',
    'mmpretrain',
}
SOURCES = {'.py', '.pyx', '.c', '.cc', '.cpp', '.h', '.hpp', '.cu', '.cuh'}
WEIGHTS = ('load_from', 'checkpoint', 'pretrained', 'pretrain_2d')  # keys that name a file of them
TEXTS = {'.txt', '.csv', '.json', '.yml', '.yaml', '.lst'}  # annotations: small, edited in place


def provenance_of(cfg: Config) -> dict[str, str]:
    """What a training of a config depends on now, by name.

    Returns:
        ``code``, a hash of what the package has a training execute, C++ and Triton included, see
        :mod:`.definitions`. ``config``, a hash of the config without its work dir. ``imports``, a
        hash of the modules of ``custom_imports`` that neither this package nor a library of
        OpenMMLab has, and ``weights``, a hash of the files of weights on this machine that it
        starts from, where there are any. The version of each library, '' if it is not installed.
    """
    content = {key: value for key, value in cfg.to_dict().items() if key != 'work_dir'}
    config = hashlib.sha256(repr(sorted(content.items())).encode())
    found = dict(code=_code(), config=config.hexdigest()[:12])
    imports = (cfg.get('custom_imports') or {}).get('imports') or []
    imported = [text for place in _imported(imports) for text in _texts(place)]
    named = {value for key, value in entries(content) if key in WEIGHTS and isinstance(value, str)}
    weights = sorted(file for file in named if Path(file).is_file())
    if imported:
        found['imports'] = _hash(imported)
    if weights:
        found['weights'] = _hash(f'{file} {_digest(Path(file)).hex()}' for file in weights)
    return found | {name: _installed((name, *others)) for name, others in LIBRARIES.items()}


def data_digest(cfg: Config) -> str:
    """A hash of all files below a config's data roots; '' where there are none.

    It is of their names and sizes, and of what annotations in text say, which are edited in place.
    """
    found = hashlib.sha256()
    count = 0
    datasets = [node for split in ('train', 'val', 'test') for node in datasets_of(cfg, split)]
    for root in sorted({node['data_root'] for node in datasets if node.get('data_root')}):
        for file in sorted(Path(root).rglob('[!.]*'), key=lambda file: file.parts):
            if file.is_file():
                count += 1
                name = file.relative_to(root).as_posix()
                found.update(f'{name} {file.stat().st_size}\n'.encode())
                if file.suffix in TEXTS:
                    found.update(_digest(file))
    return found.hexdigest()[:12] if count else ''


def weights_digest(checkpoint: str | Path) -> str:
    """A hash of the weights in a checkpoint; '' if it cannot be read as weights alone."""
    try:
        state, _ = read_weights(checkpoint)
    except (OSError, RuntimeError, UnpicklingError, ValueError):
        return ''
    found = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        if isinstance(tensor, torch.Tensor):
            found.update(f'{name} {tensor.dtype} {tuple(tensor.shape)}\n'.encode())
            found.update(
                tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
            )
    return found.hexdigest()[:12]


def differences(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    """What differs between two provenances, by name, in words: 'torch 2.12 then, 2.13 now'."""
    return {
        key: f'{key} {old.get(key, "not recorded")} then, {new[key]} now'
        for key in new
        if old.get(key) != new[key]
    }


def named_now(row: dict[str, Any]) -> dict[str, Any]:
    """A result with today's names: 0.1 called its ``provenance`` ``versions``."""
    if 'versions' in row:
        row['provenance'] = row.pop('versions')
    return row


def sources() -> list[Path]:
    """The package's source files of which a training may execute something."""
    tables = {PACKAGE / name for name in TABLES}
    others = [f for f in _sources(PACKAGE) if f.relative_to(PACKAGE).parts[0] not in NOT_TRAINING]
    return [*(f for f in others if f not in tables), *(PACKAGE / f'cli/{n}.py' for n in COMMANDS)]


@cache
def _code() -> str:
    return _hash(text for file in sources() for text in definitions(file, PACKAGE))


def _sources(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob('*') if file.suffix in SOURCES)


def _hash(texts: Iterable[str]) -> str:
    """Twelve hex digits of texts in whatever order."""
    return hashlib.sha256('\0'.join(sorted(texts)).encode()).hexdigest()[:12]


def _digest(file: Path) -> bytes:
    with file.open('rb') as opened:
        digest = hashlib.sha256()
        while block := opened.read(2**20):
            digest.update(block)
    return digest.digest()


def _installed(wheels: Iterable[str]) -> str:
    for name in wheels:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return ''


def _imported(names: str | Iterable[str]) -> Iterator[Path]:
    """Folders or files of the packages that a config imports and that have no version here."""
    names = [names] if isinstance(names, str) else names
    for root in {name.partition('.')[0] for name in names} - VERSIONED:
        spec = find_spec(root)
        if spec and spec.submodule_search_locations:
            yield from map(Path, spec.submodule_search_locations)
        elif spec and spec.origin:
            yield Path(spec.origin)


def _texts(place: Path) -> Iterator[str]:
    for file in _sources(place) if place.is_dir() else [place]:
        yield from definitions(file, place)
