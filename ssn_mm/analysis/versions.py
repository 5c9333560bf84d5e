"""What a result depends on, as short hashes: results of different versions are told apart."""

import hashlib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mmengine.config import Config

PACKAGE = Path(__file__).parents[1]
AFTERWARDS = ('analysis', 'apis', 'deploy')  # parts of the package that no training depends on
LIBRARIES = ('torch', 'mmengine', 'mmsegmentation', 'mmaction2', 'mmpretrain')


def versions(cfg: Config) -> dict[str, str]:
    """Hashes of the package's code and of a config, and the versions of the libraries."""
    content = {key: value for key, value in cfg.to_dict().items() if key != 'work_dir'}
    config = hashlib.sha256(repr(sorted(content.items())).encode())
    found = dict(code=_code(), config=config.hexdigest()[:12])
    return found | {name: _installed(name) for name in LIBRARIES}


def data_version(cfg: Config) -> str:
    """Hash of names and sizes of all files below a config's data roots; '' where there are none."""
    found = hashlib.sha256()
    count = 0
    loaders = [cfg.get(f'{split}_dataloader') for split in ('train', 'val', 'test')]
    for root in sorted(set(_data_roots(loaders))):
        for file in sorted(Path(root).rglob('[!.]*')):
            if file.is_file():
                count += 1
                name = file.relative_to(root).as_posix()
                found.update(f'{name} {file.stat().st_size}\n'.encode())
    return found.hexdigest()[:12] if count else ''


def differences(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """In words: 'torch 2.12 then, 2.13 now'."""
    return [f'{key} {old.get(key)} then, {new[key]} now' for key in new if old.get(key) != new[key]]


@cache
def _code() -> str:
    found = hashlib.sha256()
    for file in sorted(PACKAGE.rglob('*.py')):
        name = file.relative_to(PACKAGE)
        if name.parts[0] not in AFTERWARDS:
            found.update(name.as_posix().encode() + file.read_bytes())
    return found.hexdigest()[:12]


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ''


def _data_roots(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        if isinstance(node.get('data_root'), str):
            yield node['data_root']
        node = list(node.values())
    if isinstance(node, list | tuple):
        for item in node:
            yield from _data_roots(item)
