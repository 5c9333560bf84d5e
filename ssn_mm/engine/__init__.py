"""What mmengine drives during a run."""

from .atomic_backend import AtomicBackend
from .optim_constructor import SSNOptimWrapperConstructor
from .radius_hook import SSNRadiusHook
from .ratios import Ratios, read_ratios
from .ratios_hook import RatiosHook
from .reliability_hook import ReliabilityHook
from .sync_hook import SyncStatisticsHook

__all__ = [
    'AtomicBackend',
    'Ratios',
    'RatiosHook',
    'ReliabilityHook',
    'SSNOptimWrapperConstructor',
    'SSNRadiusHook',
    'SyncStatisticsHook',
    'read_ratios',
]
