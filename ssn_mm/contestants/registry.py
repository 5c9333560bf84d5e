"""The contestants that there are: shipped, of installed packages, and of files."""

import difflib
import importlib
import os
import pkgutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from .record import Contestant

GROUP = 'ssn_mm.contestants'  # of the entry points of packages
PAPER = ('BN', 'IN', 'LN', 'GN', 'SN', 'SSN')  # first in every table, in this order
_found: dict[str, Contestant] = {}
_complete = False


def register_contestant(contestant: Contestant) -> None:
    """Makes a norm known to suites, tables, figures and benchmarks, and its type to OpenMMLab.

    The module of a norm calls it, and is then named in ``custom_imports`` of configs.

    Raises:
        ValueError: A part is of the wrong kind, the layer is not as stated, or the name or the
            type is another norm's.
    """
    module = sys._getframe(1).f_globals.get('__name__', '')
    contestant = replace(contestant, module=module)
    shipped = module.startswith(f'{__package__}.')
    if not shipped:  # tests check those that ship
        import_shipped()  # whose names are taken
        contestant.check()
    there = _found.get(contestant.name)
    if there is not None and there.module != module:
        raise ValueError(f'{module}: {contestant.name!r} is the name of a norm of {there.module}')
    _register_types(contestant)
    _found[contestant.name] = contestant


def contestants() -> Mapping[str, Contestant]:
    """All contestants by name: the paper's six, then the others by their names.

    These are the files in ``ssn_mm/contestants/norms``, those that installed packages have under
    the entry point ``ssn_mm.contestants``, and what :func:`load_contestants` has loaded.

    Raises:
        ValueError: The module of a package registers none.
    """
    global _complete
    if not _complete:
        import_shipped()
        for point in entry_points(group=GROUP):
            _import(point.module, f'entry point {point.name!r} of {GROUP}')
        _complete = True
    others = sorted(_found.keys() - set(PAPER), key=str.casefold)
    return {name: _found[name] for name in (*PAPER, *others) if name in _found}


def registered() -> list[Contestant]:
    """The contestants whose modules have been imported."""
    return list(_found.values())


def find_contestant(name: str) -> Contestant:
    """The contestant of a name.

    Raises:
        ValueError: There is none; says the nearest names.
    """
    known = contestants()
    if name in known:
        return known[name]
    folded = {other.casefold(): other for other in known}
    near = difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.5)
    hint = f'did you mean {" or ".join(folded[own] for own in near)}? ' if near else ''
    raise ValueError(
        f'unknown norm {name!r}; {hint}There are {", ".join(known)}; a file of your own is named '
        'with --contestants'
    )


def load_contestants(path: str | Path) -> list[Contestant]:
    """Loads the contestants of a file, or of all Python files of a folder.

    The folder goes on ``sys.path`` and ``PYTHONPATH``, so that trainings, which are processes of
    their own, import the files by their names.

    Returns:
        What the files registered.

    Raises:
        FileNotFoundError: There is no such file or folder, or the folder has no Python file.
        ValueError: A file lacks a part, is damaged, or registers none; or its name is that of
            another module.
    """
    path = Path(path).resolve()
    files = sorted(path.glob('[!_.]*.py')) if path.is_dir() else [path]
    if not files or not all(file.is_file() for file in files):
        raise FileNotFoundError(f'no contestant at {path}; name a Python file, or a folder of them')
    folder = str(files[0].parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
        before = filter(None, [os.environ.get('PYTHONPATH')])
        os.environ['PYTHONPATH'] = os.pathsep.join([folder, *before])
    importlib.invalidate_caches()
    found: list[Contestant] = []
    for file in files:
        spec = find_spec(file.stem) if file.stem.isidentifier() else None
        if spec is None or spec.origin is None or Path(spec.origin).resolve() != file:
            raise ValueError(
                f'{file.name} cannot be imported as {file.stem!r}, which is '
                f'{"no name of a module" if spec is None else f"{spec.origin}"}; rename the file'
            )
        found += _import(file.stem, str(file))
    return found


def import_shipped() -> None:
    """Imports the norms of this package."""
    from . import norms

    for info in pkgutil.iter_modules(norms.__path__, f'{norms.__name__}.'):
        importlib.import_module(info.name)


def _import(module: str, place: str) -> list[Contestant]:
    """Imports a module that registers contestants; returns these."""
    try:
        importlib.import_module(module)
    except Exception as error:  # a file of somebody is a program
        told = ' '.join(str(error).split())
        raise ValueError(
            f'{place} is no contestant: {type(error).__name__}: {told}; docs/contestants.md has an '
            'example'
        ) from error
    own = [c for c in _found.values() if c.module.partition('.')[0] == module.partition('.')[0]]
    if not own:
        raise ValueError(
            f'{place} registers no contestant; it must call register_contestant(Contestant(...))'
        )
    return own


def _register_types(contestant: Contestant) -> None:
    """Enters its own types into mmengine's registry; those of PyTorch's layers are mmcv's."""
    if not find_spec('mmengine'):
        return
    from mmengine.registry import MODELS

    configs = (contestant.config(2), contestant.config(3))
    for cfg, layer in zip(configs, contestant.layers, strict=True):
        if layer.__module__.startswith('torch.'):
            continue
        there = MODELS._module_dict.get(cfg['type'])
        if there is not None and (there.__module__, there.__name__) != (
            layer.__module__,
            layer.__name__,
        ):
            raise ValueError(
                f'{contestant.name}: the type {cfg["type"]!r} is {there.__module__}.'
                f'{there.__name__} to OpenMMLab; name another'
            )
        MODELS.register_module(name=cfg['type'], module=layer, force=True)
