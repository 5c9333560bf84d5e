"""Hooks of mmengine's Runner, one file each."""

from .finite_check_hook import FiniteCheckHook
from .precise_stats_hook import PreciseStatsHook
from .radius_hook import SSNRadiusHook
from .ratios_hook import RatiosHook
from .reliability_hook import ReliabilityHook
from .sync_statistics_hook import SyncStatisticsHook

__all__ = [
    'FiniteCheckHook',
    'PreciseStatsHook',
    'RatiosHook',
    'ReliabilityHook',
    'SSNRadiusHook',
    'SyncStatisticsHook',
]
