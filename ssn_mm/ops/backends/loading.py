"""Which module of kernels serves a tensor."""

import importlib
import logging
from functools import cache
from types import ModuleType

import torch
from torch import Tensor

_LOG = logging.getLogger('ssn_mm')


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
    return _load(name, x.device, x.dtype)


@cache
def why_no_triton(device: torch.device, dtype: torch.dtype) -> str:
    """What keeps Triton from this device and type of map; '' if nothing does.

    The first call tries, by launching kernels on a map of eight numbers: whether there is what a
    launch needs (a C compiler, Python's headers, a driver, a folder to write to) shows nowhere
    else. It warns where a GPU has to do without.
    """
    try:
        importlib.import_module('.triton', __package__).try_launch(device, dtype)
    except torch.OutOfMemoryError:
        raise  # says nothing about the next call
    except Exception as error:  # of Triton, its compilers, the linker, the driver, the file system
        reason = f'{type(error).__name__}: {error}'.strip()[:1000]
        if device.type == 'cuda':
            _warn(
                f'Triton cannot launch kernels on {device} for {dtype} ({reason}): PyTorch '
                'operators take their place, several times slower. A launch needs triton, a C '
                "compiler, Python's headers and a folder to write to (TRITON_CACHE_DIR); "
                'SSN_MM_BACKEND=reference says that this is meant'
            )
        return reason
    return ''


@cache
def _warn(message: str) -> None:
    _LOG.warning(message)


@cache
def _load(name: str, device: torch.device, dtype: torch.dtype) -> ModuleType:
    from . import cpp

    if not name and device.type == 'cuda':
        return _module('cpu' if why_no_triton(device, dtype) else 'triton')
    if not name:
        name = 'cpp' if cpp.is_available() and cpp.supports(dtype) else 'cpu'
    devices = ('cuda', 'cpu') if name == 'triton' else ('cpu',)  # Triton can interpret
    if device.type not in devices:
        raise RuntimeError(
            f'backend {name!r} takes tensors on {" or ".join(devices)}, got one on {device.type}; '
            'unset SSN_MM_BACKEND or choose the reference'
        )
    if name == 'cpp' and not cpp.is_available():
        raise RuntimeError(
            f'backend {name!r} is not available, its kernels could not be built '
            f'({cpp.why_not()}); unset SSN_MM_BACKEND or choose cpu'
        )
    if name == 'triton' and (reason := why_no_triton(device, dtype)):
        raise RuntimeError(
            f'backend {name!r} is not available, it cannot launch kernels on {device} '
            f'({reason}); unset SSN_MM_BACKEND or choose the reference'
        )
    return _module(name)


def _module(name: str) -> ModuleType:
    return importlib.import_module(f'.{name}', __package__)
