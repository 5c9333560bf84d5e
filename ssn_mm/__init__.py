"""Sparse switchable normalization for PyTorch and OpenMMLab."""

from importlib.util import find_spec

from .layers import (
    SN,
    SSN,
    MixedNorm,
    SyncSSN,
    keep_selected,
    repair_update_bn,
    set_radius,
    set_selection,
    update_bn,
)
from .ops import (
    circumscribed_radius,
    get_backend,
    inscribed_radius,
    set_backend,
    sparsemax,
    sparsestmax,
)
from .renamed import refuse_renamed

__version__ = '0.1.0'
__all__ = [
    'SN',
    'SSN',
    'MixedNorm',
    'SyncSSN',
    'circumscribed_radius',
    'get_backend',
    'inscribed_radius',
    'keep_selected',
    'set_backend',
    'set_radius',
    'set_selection',
    'sparsemax',
    'sparsestmax',
    'update_bn',
]

__getattr__ = refuse_renamed(__name__, {'set_choices': 'set_selection'})

repair_update_bn()

if find_spec('mmengine'):  # ops and layers work without it
    from . import registration as registration
