"""Makes the package known to OpenMMLab: `type='SSN'` resolves from every MM library."""

from mmengine.fileio import register_backend
from mmengine.registry import (
    HOOKS,
    MODELS,
    OPTIM_WRAPPER_CONSTRUCTORS,
    OPTIM_WRAPPERS,
    WEIGHT_INITIALIZERS,
)

from . import compat, compat_numpy, inheritance
from .analysis.figure_hook import RatiosFigureHook
from .checkpoints import inflation, safetensors
from .checkpoints.loading import repair_loading
from .checkpoints.pretrained import Pretrained
from .checkpoints.published import PublishedResNet
from .engine import (
    AtomicBackend,
    CPUAmpOptimWrapper,
    FiniteCheckHook,
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
compat_numpy.apply()
inheritance.apply()
batchnorm.apply()
inflation.apply()
safetensors.apply()
repair_loading()

# mmengine's root registries: a library's own registry falls back to them
for module in (SSN, SyncSSN, SN, PublishedResNet):
    MODELS.register_module(module=module, force=True)
WEIGHT_INITIALIZERS.register_module(name='Pretrained', module=Pretrained, force=True)
for hook in (
    SSNRadiusHook,
    RatiosHook,
    RatiosFigureHook,
    ReliabilityHook,
    SyncStatisticsHook,
    PreciseStatsHook,
    FiniteCheckHook,
):
    HOOKS.register_module(module=hook, force=True)
OPTIM_WRAPPERS.register_module(module=CPUAmpOptimWrapper, force=True)
OPTIM_WRAPPER_CONSTRUCTORS.register_module(module=SSNOptimWrapperConstructor, force=True)
register_backend('atomic', AtomicBackend, force=True)
