"""What a result depends on, as short hashes: results of different versions are told apart."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmengine.config import Config

PACKAGE = Path(__file__).parents[1]
AFTERWARDS = ('analysis', 'apis', 'deploy')  # parts of the package that no training depends on
LIBRARIES = {  # those that train, and those that decode; with other names that a wheel may have
    'torch': (),
    'torchvision': (),
    'mmengine': (),
    'mmcv': ('mmcv-lite',),
    'mmsegmentation': (),
    'mmaction2': (),
    'mmpretrain': (),
    'numpy': (),
    'opencv-python': ('opencv-python-headless', 'opencv-contrib-python'),
    'pillow': (),
}
VERSIONED = {
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


def versions(cfg: Config) -> dict[str, str]:
    """Hashes of the code and of a config, and the versions of the libraries.

    Code is the package's, C++ kernels included. What else the config has run and start from, the
    modules of ``custom_imports`` and files of weights on this machine, is ``imports`` and
    ``weights``, where there is any.
    """
    content = {key: value for key, value in cfg.to_dict().items() if key != 'work_dir'}
    config = hashlib.sha256(repr(sorted(content.items())).encode())
    found = dict(code=_code(), config=config.hexdigest()[:12])
    imports = sorted(_imported((cfg.get('custom_imports') or {}).get('imports') or []))
    weights = sorted(file for file in set(_weights(content)) if Path(file).is_file())
    if imports:
        found['imports'] = _hash((f.name, f.read_bytes()) for f in imports)
    if weights:
        found['weights'] = _hash((file, _digest(Path(file))) for file in weights)
    return found | {name: _installed((name, *others)) for name, others in LIBRARIES.items()}


def data_version(cfg: Config) -> str:
    """Hash of all files below a config's data roots; '' where there are none.

    It is of names and sizes, and of what annotations in text say, which are edited in place.
    """
    found = hashlib.sha256()
    count = 0
    loaders = [cfg.get(f'{split}_dataloader') for split in ('train', 'val', 'test')]
    for root in sorted(set(_data_roots(loaders))):
        for file in sorted(Path(root).rglob('[!.]*')):
            if file.is_file():
                count += 1
                name = file.relative_to(root).as_posix()
                found.update(f'{name} {file.stat().st_size}\n'.encode())
                if file.suffix in TEXTS:
                    found.update(_digest(file))
    return found.hexdigest()[:12] if count else ''


def differences(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """In words: 'torch 2.12 then, 2.13 now'."""
    return [f'{key} {old.get(key)} then, {new[key]} now' for key in new if old.get(key) != new[key]]


@cache
def _code() -> str:
    """Of what a training may run: all sources but those of tools that come after it."""
    files = ((f.relative_to(PACKAGE), f) for f in _sources(PACKAGE))
    return _hash((n.as_posix(), f.read_bytes()) for n, f in files if n.parts[0] not in AFTERWARDS)


def _sources(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob('*') if file.suffix in SOURCES)


def _hash(parts: Iterable[tuple[str, bytes]]) -> str:
    found = hashlib.sha256()
    for name, content in parts:
        found.update(name.encode() + content)
    return found.hexdigest()[:12]


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
    """Sources of the packages of somebody else that a config imports; libraries have a version."""
    names = [names] if isinstance(names, str) else names
    for root in {name.partition('.')[0] for name in names} - VERSIONED:
        spec = find_spec(root)
        if spec and spec.submodule_search_locations:
            for folder in spec.submodule_search_locations:
                yield from _sources(Path(folder))
        elif spec and spec.origin:
            yield Path(spec.origin)


def _weights(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key in WEIGHTS and isinstance(value, str):
                yield value
            else:
                yield from _weights(value)
    elif isinstance(node, list | tuple):
        for item in node:
            yield from _weights(item)


def _data_roots(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        if isinstance(node.get('data_root'), str):
            yield node['data_root']
        node = list(node.values())
    if isinstance(node, list | tuple):
        for item in node:
            yield from _data_roots(item)
