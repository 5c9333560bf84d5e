"""What mmengine drives during a run."""

from .amp import CPUAmpOptimWrapper
from .atomic_backend import AtomicBackend
from .finite_check_hook import FiniteCheckHook
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
    'CPUAmpOptimWrapper',
    'FiniteCheckHook',
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
