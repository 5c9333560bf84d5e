"""Has functions called with each network that mmengine builds from a config."""

from collections.abc import Callable
from typing import Any

_finishing: list[Callable[[Any], object]] = []


def after_build(finish: Callable[[Any], object]) -> None:
    """Has a function called with every network, as soon as all of its parts are there."""
    if finish not in _finishing:
        _finishing.append(finish)


def finish_network(built: Any) -> None:
    """Calls the functions with what was built, if it is a network."""
    if hasattr(built, 'backbone'):
        for finish in _finishing:
            finish(built)
