"""Sparse switchable normalization for PyTorch and OpenMMLab."""

from importlib.util import find_spec

from .layers import SN, SSN, keep_selected, set_choices, set_radius

__version__ = '0.1.0'
__all__ = ['SN', 'SSN', 'keep_selected', 'set_choices', 'set_radius']

if find_spec('mmengine'):  # ops and layers work without it
    from . import registration as registration
