"""Puts modules in the place of others, wherever a network refers to them."""

from collections.abc import Mapping
from typing import Any

from torch import nn

_DEPTH = 3  # of lists, tuples and dicts in each other that are looked into


def replace_modules(model: nn.Module, replacements: Mapping[nn.Module, nn.Module]) -> nn.Module:
    """Replaces modules of a network, in place.

    A network may hold a module outside of its submodules as well, as an attribute that is written
    to ``__dict__`` or in a list, tuple or dict, and run it from there. These are replaced, too.

    Args:
        model: The network.
        replacements: New modules by those that they replace.

    Returns:
        ``model``; its replacement where it is itself replaced.
    """
    if model in replacements:
        return replacements[model]
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child is not None and child in replacements:
                setattr(parent, name, replacements[child])
        own = vars(parent)
        for name, value in list(own.items()):
            if (new := _replaced(value, replacements, _DEPTH)) is not value:
                own[name] = new
    return model


def _replaced(value: Any, replacements: Mapping[nn.Module, nn.Module], depth: int) -> Any:
    """A value whose modules are replaced: lists and dicts in place, tuples by others."""
    if isinstance(value, nn.Module):
        return replacements.get(value, value)
    if not depth or not isinstance(value, list | tuple | dict):
        return value
    pairs = list(value.items() if isinstance(value, dict) else enumerate(value))
    changed = {
        key: new
        for key, old in pairs
        if (new := _replaced(old, replacements, depth - 1)) is not old
    }
    if not changed:
        return value
    if isinstance(value, tuple):
        parts = [changed.get(key, old) for key, old in pairs]
        return value._make(parts) if hasattr(value, '_make') else type(value)(parts)
    for key, new in changed.items():
        value[key] = new
    return value
