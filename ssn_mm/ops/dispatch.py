"""Which backend the user has named: the one place that reads SSN_MM_BACKEND."""

import os

BACKENDS = ('reference', 'cpu', 'cpp', 'triton')

# without the variable, os.environ raises and catches two exceptions: too slow for each call
_ENVIRONMENT, _KEY = os.environ._data, os.environ.encodekey('SSN_MM_BACKEND')  # type: ignore


def named_backend() -> str:
    """The backend that SSN_MM_BACKEND names; '' where it is unset or empty: the best is taken.

    Raises:
        RuntimeError: There is no backend of that name.
    """
    name = os.environ['SSN_MM_BACKEND'] if _KEY in _ENVIRONMENT else ''
    if name and name not in BACKENDS:
        raise RuntimeError(
            f'SSN_MM_BACKEND={name!r} is not available; choose from {", ".join(BACKENDS)}'
        )
    return name
