"""What 0.1 called otherwise: names in Python raise and say the new one, names in configs go on."""

import warnings
from collections.abc import Callable, Mapping
from typing import NoReturn


def refuse_renamed(module: str, names: Mapping[str, str]) -> Callable[[str], NoReturn]:
    """The ``__getattr__`` of a module whose names have changed.

    Args:
        module: Name of the module.
        names: Old names with the new ones.
    """

    def refuse(name: str) -> NoReturn:
        if name in names:
            raise AttributeError(f'{module}.{name} is now {names[name]}, see CHANGELOG.md')
        raise AttributeError(f'module {module!r} has no attribute {name!r}')

    return refuse


def selection_of(choices: str | None) -> str | None:
    """What the option ``choices`` of a config of 0.1 is as ``selection``; None if it is None."""
    if choices is None:
        return None
    selection = 'fix' if choices == 'freeze' else choices
    warnings.warn(f'choices={choices!r} is now selection={selection!r}', stacklevel=3)
    return selection
