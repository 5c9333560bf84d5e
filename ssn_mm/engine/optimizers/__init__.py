"""Optimizer wrappers and their constructor."""

from .cpu_amp_optim_wrapper import CPUAmpOptimWrapper
from .optim_wrapper_constructor import SSNOptimWrapperConstructor

__all__ = ['CPUAmpOptimWrapper', 'SSNOptimWrapperConstructor']
