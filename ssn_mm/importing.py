"""Repairs of modules that may be imported later, or never."""

import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from types import ModuleType
from typing import Any

Repair = Callable[[ModuleType], None]


def after_import(repairs: Mapping[str, Repair]) -> None:
    """Calls each repair with its module, at once if that is imported, else as soon as it is.

    Modules of packages that are not installed are passed over.

    Args:
        repairs: Names of modules, as in ``import``, with a function of the module for each.
    """
    for name, repair in repairs.items():
        if name in sys.modules:
            repair(sys.modules[name])
        elif find_spec(name.partition('.')[0]):
            _finder.waiting[name].append(repair)
    if _finder.waiting and _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)


class _Finder(MetaPathFinder):
    def __init__(self) -> None:
        self.waiting: dict[str, list[Repair]] = defaultdict(list)

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if name not in self.waiting:
            return None
        repairs = self.waiting.pop(name)
        spec = PathFinder.find_spec(name, path)
        if spec and spec.loader:
            execute = spec.loader.exec_module

            def execute_and_repair(module: ModuleType) -> None:
                execute(module)
                for repair in repairs:
                    repair(module)

            spec.loader.exec_module = execute_and_repair  # type: ignore[method-assign]
        return spec


_finder = _Finder()
