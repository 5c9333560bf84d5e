"""Has functions called when a module is imported, which may be later, or never.

wrapt has hooks after an import and none before one, and the wheel depends on PyTorch alone.
"""

import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

Patch = Callable[[ModuleType], object]


def before_import(patches: Mapping[str, Callable[[], object]]) -> None:
    """Calls each patch just before its module is executed, at once if that is imported already.

    Modules of packages that are not installed are passed over.

    Args:
        patches: Names of modules, as in ``import``, with a function without arguments for each.
            One that returns a context manager has it entered until the module is executed.
    """
    _wait(_finder.before, patches, lambda patch, _: patch())


def after_import(patches: Mapping[str, Patch]) -> None:
    """Calls each patch with its module, at once if that is imported, else as soon as it is.

    A patch of a module is made once, however often it is asked for. Modules of packages that are
    not installed are passed over.

    Args:
        patches: Names of modules, as in ``import``, with a function of the module for each.
    """
    _wait(_finder.after, patches, _make)


def _wait(
    waiting: dict[str, list], patches: Mapping[str, Any], call: Callable[[Any, ModuleType], object]
) -> None:
    for name, patch in patches.items():
        if name in sys.modules:
            call(patch, sys.modules[name])
        elif find_spec(name.partition('.')[0]):
            waiting[name].append(patch)
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)


def _make(patch: Patch, module: ModuleType) -> None:
    made = vars(module).setdefault('_made_by_ssn_mm', set())
    if patch not in made:
        made.add(patch)
        patch(module)


class _Finder(MetaPathFinder):
    """Finds modules as the other finders do, and calls patches as they are executed."""

    def __init__(self) -> None:
        self.before: dict[str, list[Callable[[], object]]] = defaultdict(list)
        self.after: dict[str, list[Patch]] = defaultdict(list)

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if name not in self.before and name not in self.after:
            return None
        others = (finder for finder in list(sys.meta_path) if finder is not self)
        specs = (finder.find_spec(name, path, target) for finder in others)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec and spec.loader:  # a spec may only be looked at, so patches are taken on execution
            execute = spec.loader.exec_module

            def execute_patched(module: ModuleType) -> None:
                with ExitStack() as during:
                    for run in self.before.pop(name, []):
                        context = run()
                        if isinstance(context, AbstractContextManager):
                            during.enter_context(context)
                    execute(module)
                for patch in self.after.pop(name, []):
                    _make(patch, module)

            spec.loader.exec_module = execute_patched  # type: ignore[method-assign]
        return spec


_finder = _Finder()
