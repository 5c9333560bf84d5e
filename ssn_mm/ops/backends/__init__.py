"""Implementations of switch_norm with one signature, chosen per call.

reference is plain autograd, the oracle. The others are kernels under ``fused``: cpp for CPUs where
a compiler is at hand, cpu where none is, triton for CUDA where it can launch, else the reference.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ..dispatch import BACKENDS, named_backend
from ..tracing import is_traced, is_transformed
from . import fused, reference
from .loading import load_kernels, why_no_triton

__all__ = ['BACKENDS', 'choose_backend', 'is_faster_in_torch']

_DTYPES = frozenset((torch.float32, torch.float64, torch.bfloat16, torch.float16))


def choose_backend(x: Tensor, sync: bool, correction: int = 0) -> Callable:
    """The ``switch_norm`` of the backend that SSN_MM_BACKEND names, else of the best for ``x``.

    With a ``correction`` it is the reference's.

    Raises:
        RuntimeError: The named backend is not there, or not for this tensor.
    """
    name = named_backend()
    if correction:
        return partial(reference.switch_norm, correction=correction)
    traced = is_traced(x)
    if traced and is_transformed():
        return reference.switch_norm
    if name == 'reference' or not (name or _is_fused_best(x, traced)):
        return reference.switch_norm
    if not (sync or traced):
        kernels = load_kernels(name, x)
        if hasattr(kernels, 'switch_norm'):  # with a node of the graph of their own
            return kernels.switch_norm
    return partial(fused.switch_norm, kernels=name)


def is_faster_in_torch(name: str, x: Tensor) -> bool:
    """Whether torch's own layer beats the backend for ``x`` when ``name`` alone is computed."""
    backend = named_backend()
    if backend == 'reference' or is_transformed() or not (backend or _is_fused_best(x, True)):
        return False
    return load_kernels(backend, x).is_faster_in_torch(name, x)


def _is_fused_best(x: Tensor, traced: bool) -> bool:
    # torch.jit's tracer records plain steps that run anywhere; what else is traced is the operator,
    # which looks for its kernels where it runs
    return (
        x.dtype in _DTYPES
        and (x.is_cpu or x.is_cuda)
        and x.numel() > 0
        and not (traced and torch.jit.is_tracing())
        and (x.is_cpu or traced or not why_no_triton(x.device, x.dtype))
    )
