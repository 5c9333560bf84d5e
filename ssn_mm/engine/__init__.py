"""What mmengine drives during a run."""

from .atomic_backend import AtomicBackend
from .optim_constructor import SSNOptimWrapperConstructor
from .precise_stats import measure_statistics
from .precise_stats_hook import PreciseStatsHook
from .radius_hook import SSNRadiusHook
from .ratios import Ratios, read_ratios
from .ratios_hook import RatiosHook
from .reliability_hook import ReliabilityHook
from .sync_hook import SyncStatisticsHook

__all__ = [
    'AtomicBackend',
    'PreciseStatsHook',
    'Ratios',
    'RatiosHook',
    'ReliabilityHook',
    'SSNOptimWrapperConstructor',
    'SSNRadiusHook',
    'SyncStatisticsHook',
    'measure_statistics',
    'read_ratios',
]
