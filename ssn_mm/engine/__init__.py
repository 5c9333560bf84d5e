"""What mmengine drives during a run."""

from .amp import CPUAmpOptimWrapper
from .atomic_backend import AtomicBackend
from .finite_check_hook import FiniteCheckHook
from .optim_constructor import SSNOptimWrapperConstructor
from .radius_hook import SSNRadiusHook
from .ratios import Ratios, read_ratios
from .ratios_hook import RatiosHook
from .reliability_hook import ReliabilityHook

__all__ = [
    'AtomicBackend',
    'CPUAmpOptimWrapper',
    'FiniteCheckHook',
    'Ratios',
    'RatiosHook',
    'ReliabilityHook',
    'SSNOptimWrapperConstructor',
    'SSNRadiusHook',
    'read_ratios',
]
