"""Config files as tools read them: what is wrong with one, what it holds, which files it names."""

import os
import traceback
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from mmengine.config import Config

from .commands import pip_install
from .renamed import CONFIGS

_EXTRAS = {'mmaction': 'ssn-mm[video]'}
SUFFIXES = ('.py', '.yaml', '.yml', '.json')
_READERS = ('_file2dict', '_parse_lazy_import')  # mmengine calls one for each file


def read_config(
    path: str | Path,
    options: Mapping[str, Any] | None = None,
    kind: str = 'config file',
    folder: str = 'configs/',
) -> Config:
    """Reads a Python, YAML or JSON config with all that it inherits.

    Args:
        path: The config file.
        options: Overrides, as ``--cfg-options`` gives them.
        kind: What messages call the file.
        folder: The folder where files of this kind ship, for messages.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file, or one that it inherits from, cannot be read as a config; the message
            says which, the line and why. Or the overrides do not fit it.
    """
    path = Path(path)
    if not path.is_file():
        what = ', which is a folder' if path.is_dir() else ''
        now = CONFIGS.get(path.name)
        hint = f'it is now {now}, see CHANGELOG.md' if now else f'see {folder} for those that ship'
        raise FileNotFoundError(f'no {kind} {str(path)!r}{what}; {hint}')
    if path.suffix not in SUFFIXES:
        raise ValueError(
            f'a {kind.split()[0]} ends in .py, .yaml, .yml or .json, got {str(path)!r}'
        )
    try:
        cfg = Config.fromfile(path)
    except Exception as error:  # a config is a program
        raise ValueError(f'cannot read {path}: {_told(error, path)}') from error
    try:
        cfg.merge_from_dict(deepcopy(dict(options or {})))  # mmengine would write into them
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f'the options {options} do not fit {path}: {_in_a_line(error)}; lists are changed by '
            'index, such as custom_hooks.0.type=X'
        ) from error
    return cfg


def check_parts(cfg: Config, *parts: str) -> None:
    """Checks that a config has a network, and other parts that a tool needs.

    Raises:
        ValueError: It lacks one, as a suite does, or a fragment that others inherit from.
    """
    name = f' {cfg.filename}' if cfg.filename else ''
    if missing := [part for part in parts if not cfg.get(part)]:
        raise ValueError(f'the config{name} has no {", ".join(missing)}')
    if not isinstance(cfg.get('model'), Mapping):
        raise ValueError(
            f'the config{name} has no model, or none that is a dict: {cfg.get("model")!r}'
        )


def files_of(cfg: Config) -> list[str]:
    """The files that a config was read from or names (lists of data, weights) and that exist.

    A tool must not write over them.
    """
    lines = (cfg.text or '').splitlines()  # mmengine begins each part with its file's name
    read = [line for line in lines if line.endswith(SUFFIXES) and os.path.isabs(line)]
    named = [*filter(None, [cfg.filename]), *read, *_strings(cfg.to_dict(), '')]
    return [path for path in dict.fromkeys(map(os.path.abspath, named)) if os.path.isfile(path)]


def entries(node: Any, key: Any = '') -> Iterator[tuple[Any, Any]]:
    """Yields every key and value in nested dicts and lists; the items of a list have its key."""
    yield key, node
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield from entries(value, name)
    elif isinstance(node, list | tuple):
        for item in node:
            yield from entries(item, key)


def _strings(node: Any, root: str) -> Iterator[str]:
    """Yields each string in nested containers, also as a path below the ``data_root`` beside it."""
    if isinstance(node, str) and '\0' not in node:
        yield os.path.expanduser(node)
        yield os.path.join(root, node)
    elif isinstance(node, Mapping):
        own = node.get('data_root')
        root = os.path.expanduser(own) if isinstance(own, str) else root
        for value in node.values():
            yield from _strings(value, root)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _strings(value, root)


def _told(error: Exception, path: Path) -> str:
    """An error in words, with the file and line that it comes from."""
    frames = list(traceback.walk_tb(error.__traceback__))
    read = [f.f_locals.get('filename') for f, _ in frames if f.f_code.co_name in _READERS]
    file = next((str(name) for name in reversed(read) if name), str(path))
    line = error.lineno if isinstance(error, SyntaxError) else None
    line = line or next((n for f, n in reversed(frames) if f.f_code.co_filename == file), None)
    inherited = file if os.path.abspath(file) != os.path.abspath(path) else ''
    places = [f'line {line}'] if line else []
    places += [f'{inherited}, which it inherits from'] if inherited else []
    where = f'{" of ".join(places)}: ' if places else ''
    return where + (_lack(error) or _in_a_line(error))


def _lack(error: BaseException | None) -> str:
    """What a config imports and is not installed, if an extra brings it; '' for all else."""
    while error is not None:
        library = (getattr(error, 'name', None) or '').partition('.')[0]
        if isinstance(error, ModuleNotFoundError) and library in _EXTRAS:
            return f'{library} is not installed: {pip_install(_EXTRAS[library])}'
        error = error.__cause__ or error.__context__
    return ''


def _in_a_line(error: Exception) -> str:
    text = error.msg if isinstance(error, SyntaxError) else ' '.join(str(error).split())
    return f'{type(error).__name__}: {text}'
