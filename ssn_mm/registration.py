"""Makes the package known to OpenMMLab: `type='SSN'` resolves from every MM library."""

from mmengine.fileio import register_backend
from mmengine.registry import HOOKS, MODELS, OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS

from . import compat, inheritance
from .analysis.figure_hook import RatiosFigureHook
from .checkpoints import inflation
from .engine import (
    AtomicBackend,
    CPUAmpOptimWrapper,
    FiniteCheckHook,
    RatiosHook,
    ReliabilityHook,
    SSNOptimWrapperConstructor,
    SSNRadiusHook,
    batchnorm,
)
from .layers import SN, SSN

compat.apply()
inheritance.apply()
batchnorm.apply()
inflation.apply()

# mmengine's root registries: a library's own registry falls back to them
MODELS.register_module(name='SSN', module=SSN, force=True)
MODELS.register_module(name='SN', module=SN, force=True)
for hook in (SSNRadiusHook, RatiosHook, RatiosFigureHook, ReliabilityHook, FiniteCheckHook):
    HOOKS.register_module(module=hook, force=True)
OPTIM_WRAPPERS.register_module(module=CPUAmpOptimWrapper, force=True)
OPTIM_WRAPPER_CONSTRUCTORS.register_module(module=SSNOptimWrapperConstructor, force=True)
register_backend('atomic', AtomicBackend, force=True)
