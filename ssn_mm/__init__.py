"""Sparse switchable normalization for PyTorch and OpenMMLab."""

from importlib.util import find_spec

from .layers import (
    SN,
    SSN,
    keep_selected,
    repair_update_bn,
    set_choices,
    set_radius,
    update_bn,
)

__version__ = '0.1.0'
__all__ = ['SN', 'SSN', 'keep_selected', 'set_choices', 'set_radius', 'update_bn']

repair_update_bn()

if find_spec('mmengine'):  # ops and layers work without it
    from . import registration as registration
