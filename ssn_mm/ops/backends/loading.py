"""Which module of kernels serves a tensor."""

import importlib
from functools import cache
from types import ModuleType

import torch
from torch import Tensor


def load_kernels(name: str, x: Tensor) -> ModuleType:
    """The module of kernels by its name, or the best for ``x`` where it is ''.

    Raises:
        RuntimeError: It is not for this tensor or this machine; says why.
    """
    if not x.numel():
        raise RuntimeError(
            f'backend {name!r} takes tensors with elements, got {tuple(x.shape)}; '
            'unset SSN_MM_BACKEND or choose the reference'
        )
    return _load(name, x.device.type, x.dtype)


@cache
def _load(name: str, device: str, dtype: torch.dtype) -> ModuleType:
    from . import cpp

    if not name:
        compiled = cpp.is_available() and cpp.supports(dtype)
        name = 'triton' if device == 'cuda' else 'cpp' if compiled else 'cpu'
    devices = ('cuda', 'cpu') if name == 'triton' else ('cpu',)  # Triton can interpret
    if device not in devices:
        raise RuntimeError(
            f'backend {name!r} takes tensors on {" or ".join(devices)}, got one on {device}; '
            'unset SSN_MM_BACKEND or choose the reference'
        )
    if name == 'cpp' and not cpp.is_available():
        raise RuntimeError(
            f'backend {name!r} is not available, its kernels could not be built '
            f'({cpp.why_not()}); unset SSN_MM_BACKEND or choose cpu'
        )
    try:
        return importlib.import_module(f'.{name}', __package__)
    except ImportError as error:
        raise RuntimeError(f'backend {name!r} is not available: {error}') from error
