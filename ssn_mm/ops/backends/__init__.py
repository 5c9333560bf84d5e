"""Implementations of switch_norm with one signature, chosen per call."""

import os
from collections.abc import Callable

from torch import Tensor

from . import cpu, reference

BACKENDS = {'reference': reference.switch_norm, 'cpu': cpu.switch_norm}


def choose_backend(x: Tensor) -> Callable:
    """The ``switch_norm`` of the backend that SSN_MM_BACKEND names, else of the best for ``x``.

    Raises:
        RuntimeError: The named backend is not there.
    """
    name = os.environ.get('SSN_MM_BACKEND')
    if name is None:
        return cpu.switch_norm if cpu.is_best(x) else reference.switch_norm
    if name not in BACKENDS:
        raise RuntimeError(
            f'SSN_MM_BACKEND={name!r} is not available; choose from {", ".join(BACKENDS)}'
        )
    return BACKENDS[name]
