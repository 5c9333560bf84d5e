"""What mmengine drives in a training: hooks, optimizers, the order of data, resuming."""

from importlib import import_module
from typing import Any

from .ratios import Ratios, read_ratios

_PLACES = {
    'AtomicBackend': 'atomic_backend',
    'CPUAmpOptimWrapper': 'optimizers',
    'FiniteCheckHook': 'hooks',
    'PreciseStatsHook': 'hooks',
    'RatiosHook': 'hooks',
    'ReliabilityHook': 'hooks',
    'SSNOptimWrapperConstructor': 'optimizers',
    'SSNRadiusHook': 'hooks',
    'SyncStatisticsHook': 'hooks',
    'measure_statistics': 'recalibration',
}
__all__ = ['Ratios', 'read_ratios', *_PLACES]


def __getattr__(name: str) -> Any:
    """Imports hooks and optimizers when they are asked for, as they load mmengine's Runner."""
    if name in _PLACES:
        return getattr(import_module(f'.{_PLACES[name]}', __name__), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
