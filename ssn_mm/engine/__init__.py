"""What mmengine drives during a run."""

from .atomic_backend import AtomicBackend
from .optim_constructor import SSNOptimWrapperConstructor
from .radius_hook import SSNRadiusHook

__all__ = ['AtomicBackend', 'SSNOptimWrapperConstructor', 'SSNRadiusHook']
