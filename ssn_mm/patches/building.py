"""Finishes each network that mmengine builds from a config: converts its norms, calls functions."""

from collections.abc import Callable, Mapping
from typing import Any

from ..layers import convert_norms

_finishing: list[Callable[[Any], object]] = []


def after_build(finish: Callable[[Any], object]) -> None:
    """Has a function called with every network, as soon as all of its parts are there."""
    if finish not in _finishing:
        _finishing.append(finish)


def take_conversion(cfg: Any) -> tuple[Any, Mapping[str, Any] | None]:
    """Takes ``convert_norms=dict(...)`` out of the config of a network, or of a part of one.

    Returns:
        The config without it; and what it says, None where it is not there or None.

    Raises:
        TypeError: It is neither a dict of arguments of :func:`ssn_mm.convert_norms` nor None.
    """
    if not isinstance(cfg, Mapping) or 'convert_norms' not in cfg:
        return cfg, None
    stated = {**cfg}
    options = stated.pop('convert_norms')
    if options is not None and not isinstance(options, Mapping):
        raise TypeError(f'convert_norms must be a dict of its arguments, got {options!r}')
    return stated, options


def finish_network(built: Any, conversion: Mapping[str, Any] | None) -> Any:
    """Converts what was built, if asked to, and calls the functions if it is a network.

    A checkpoint is loaded later, so normalizers may be named whose statistics are not there yet.
    """
    if conversion is not None:
        built = convert_norms(built, **{'unmeasured': True, **conversion})
    if hasattr(built, 'backbone'):
        for finish in _finishing:
            finish(built)
    return built
