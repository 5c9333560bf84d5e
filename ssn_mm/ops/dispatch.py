"""Says which backend serves a tensor, and holds the one that the user has named."""

import importlib
import logging
import os
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from .backends.record import FLOATS, Backend
from .tracing import is_traced

BACKENDS = ('reference', 'cpu', 'cpp', 'triton')
# kernels for each type of device, the best first, of which the last run on any machine
_BEST = {'cpu': ('cpp', 'cpu'), 'cuda': ('triton', 'cpu')}
_DTYPES = frozenset(FLOATS)  # of _BEST's last, which is too slow to look up at each call
_LOG = logging.getLogger('ssn_mm')
_named: str | None = None  # by set_backend

# without the variable, os.environ raises and catches two exceptions: too slow for each call
_ENVIRONMENT, _KEY = os.environ._data, os.environ.encodekey('SSN_MM_BACKEND')  # type: ignore


def set_backend(name: str | None) -> str | None:
    """Names the backend of all calls in this process, in place of ``SSN_MM_BACKEND``.

    Args:
        name: 'reference' (plain PyTorch for any tensor), 'cpu' (PyTorch's own kernels), 'cpp'
            (ours, compiled on first use) or 'triton'; '' for the best that is available for each
            tensor; None for what ``SSN_MM_BACKEND`` says.

    Returns:
        The name that was given before, or None: with it the earlier setting is restored.

    Raises:
        ValueError: There is no backend of that name.
    """
    global _named
    if name and name not in BACKENDS:
        raise ValueError(f'there is no backend {name!r}; choose from {", ".join(BACKENDS)}')
    before, _named = _named, name
    return before


def get_backend() -> str:
    """The backend that :func:`set_backend`, else ``SSN_MM_BACKEND`` names; '' for the best.

    Raises:
        RuntimeError: ``SSN_MM_BACKEND`` names none that there is.
    """
    if _named is not None:
        return _named
    name = os.environ['SSN_MM_BACKEND'] if _KEY in _ENVIRONMENT else ''
    if name and name not in BACKENDS:
        raise RuntimeError(
            f'SSN_MM_BACKEND={name!r} is not available; choose from {", ".join(BACKENDS)}'
        )
    return name


def is_kernels_best(x: Tensor, traced: bool) -> bool:
    """Whether kernels, instead of the reference, serve ``x`` where no backend is named."""
    # torch.jit's tracer is given plain steps, which run anywhere; other tracers record the
    # operator, which looks for its kernels where it runs
    return (
        x.dtype in _DTYPES
        and (x.is_cpu or x.is_cuda)
        and x.numel() > 0
        and not (traced and torch.jit.is_tracing())
        and (x.is_cpu or traced or not why_no_triton(x.device, x.dtype))
    )


def load_kernels(name: str, x: Tensor) -> Backend:
    """The kernels of the backend with this name, or the best for ``x`` where the name is ''.

    Raises:
        RuntimeError: The kernels are not for this tensor or this machine; says why.
    """
    if not x.numel():
        raise RuntimeError(
            f'backend {name!r} takes tensors with elements, got {tuple(x.shape)}; '
            'unset SSN_MM_BACKEND or choose the reference'
        )
    return _kernels(name, x.device, x.dtype)


def sparsestmax_node(rows: Tensor) -> Callable[[Tensor, Tensor], Tensor] | None:
    """A backend's own SparsestMax for logits (..., K) and radii; None where plain PyTorch serves.

    Raises:
        RuntimeError: The backend that is named is not for this machine.
    """
    name = get_backend()
    if name not in ('', 'cpp') or not rows.is_cpu or not rows.numel() or is_traced(rows):
        return None
    return load_kernels(name, rows).sparsestmax


def mixed_norm_kernel(x: Tensor) -> Callable[..., Tensor] | None:
    """A backend's own ``MixedNorm`` for a map that no gradient is recorded of.

    None where PyTorch's operators serve: they are what compilers and exporters see, and what runs
    on other devices and where no kernels could be built.

    Raises:
        RuntimeError: The backend that is named is not for this machine.
    """
    own = kernels_for_all(x)
    return None if own is None else own.mixed_norm


def kernels_for_all(t: Tensor) -> Backend | None:
    """The backend that may have kernels of its own for what PyTorch does in several operators.

    Args:
        t: A tensor like those that they would take, with elements.

    Returns:
        None where PyTorch's operators serve: on other devices, where another backend is named, and
        where something records the call.

    Raises:
        RuntimeError: The backend that is named is not for this machine.
    """
    name = get_backend()
    if name not in ('', 'cpp') or not t.is_cpu or t.dtype not in _DTYPES or is_traced(t):
        return None
    return load_kernels(name, t)


@cache
def why_no_triton(device: torch.device, dtype: torch.dtype) -> str:
    """What keeps Triton from this device and type of map; '' if nothing does.

    The first call launches kernels on a map of eight numbers, since nothing else shows whether
    there is all that a launch needs: a C compiler, Python's headers, a driver, a folder to write
    to. It warns where a GPU has to do without Triton.
    """
    try:
        return _backend('triton').why_not_for(device, dtype)
    except torch.OutOfMemoryError:
        raise  # the next call may have the memory
    except Exception as error:  # Triton, compilers, linker, driver and file system may all fail
        reason = f'{type(error).__name__}: {error}'.strip()[:1000]
        if device.type == 'cuda':
            _warn(
                f'Triton cannot launch kernels on {device} for {dtype} ({reason}): PyTorch '
                'operators take their place, several times slower. A launch needs triton, a C '
                "compiler, Python's headers and a folder to write to (TRITON_CACHE_DIR); "
                'SSN_MM_BACKEND=reference says that this is meant'
            )
        return reason


@cache
def _warn(message: str) -> None:
    _LOG.warning(message)


@cache
def _kernels(name: str, device: torch.device, dtype: torch.dtype) -> Backend:
    if not name:
        *better, last = _BEST.get(device.type, ('cpu',))
        name = next((other for other in better if not _why_not(other, device, dtype)), last)
    if reason := _why_not(name, device, dtype):
        other = 'cpu' if name == 'cpp' else 'the reference'
        raise RuntimeError(
            f'backend {name!r} is not available, it cannot run on {device} ({reason}); '
            f'unset SSN_MM_BACKEND or choose {other}'
        )
    return _backend(name)


def _why_not(name: str, device: torch.device, dtype: torch.dtype) -> str:
    if name == 'triton':  # whose import may fail, too
        return why_no_triton(device, dtype)
    return _backend(name).why_not_for(device, dtype)


def _backend(name: str) -> Backend:
    return importlib.import_module(f'.backends.{name}', __package__).BACKEND
