"""Implementations of switch_norm with one signature, imported when first used."""

import os
from collections.abc import Callable
from importlib import import_module

from torch import Tensor

BACKENDS = ('reference', 'cpu')


def choose_backend(x: Tensor) -> Callable:
    """The ``switch_norm`` of the backend that SSN_MM_BACKEND names, else of the best for ``x``.

    Raises:
        RuntimeError: The named backend is not there.
    """
    name = os.environ.get('SSN_MM_BACKEND')
    if name is None:
        name = 'cpu' if _load('cpu').is_best(x) else 'reference'
    elif name not in BACKENDS:
        raise RuntimeError(f'SSN_MM_BACKEND={name!r} is not available; choose from {BACKENDS}')
    return _load(name).switch_norm


def _load(name: str):
    return import_module(f'{__name__}.{name}')
