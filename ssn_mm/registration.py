"""Makes the package known to OpenMMLab: `type='SSN'` resolves from every MM library."""

from mmengine.fileio import register_backend
from mmengine.registry import HOOKS, MODELS, OPTIM_WRAPPER_CONSTRUCTORS

from . import compat, inheritance
from .analysis.figure_hook import RatiosFigureHook
from .checkpoints import inflation, safetensors
from .engine import (
    AtomicBackend,
    PreciseStatsHook,
    RatiosHook,
    ReliabilityHook,
    SSNOptimWrapperConstructor,
    SSNRadiusHook,
    SyncStatisticsHook,
    batchnorm,
)
from .layers import SN, SSN, SyncSSN

compat.apply()
inheritance.apply()
batchnorm.apply()
inflation.apply()
safetensors.apply()

# mmengine's root registries: a library's own registry falls back to them
for layer in (SSN, SyncSSN, SN):
    MODELS.register_module(module=layer, force=True)
for hook in (
    SSNRadiusHook,
    RatiosHook,
    RatiosFigureHook,
    ReliabilityHook,
    SyncStatisticsHook,
    PreciseStatsHook,
):
    HOOKS.register_module(module=hook, force=True)
OPTIM_WRAPPER_CONSTRUCTORS.register_module(module=SSNOptimWrapperConstructor, force=True)
register_backend('atomic', AtomicBackend, force=True)
