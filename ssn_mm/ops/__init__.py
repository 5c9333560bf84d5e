"""Pure functions on tensors: SparsestMax and the switchable normalization."""

from ..renamed import refuse_renamed
from .dispatch import get_backend, set_backend
from .moments import batch_moments, group_moments, instance_moments, layer_moments
from .norm import Logits, Norm, PerChannel
from .normalizers import NORMALIZERS, competing
from .projection import circumscribed_radius, inscribed_radius
from .selected_norm import selected_norm
from .sparsestmax import sparsemax, sparsestmax
from .switch_norm import normalize, switch_norm

__all__ = [
    'NORMALIZERS',
    'Logits',
    'Norm',
    'PerChannel',
    'batch_moments',
    'circumscribed_radius',
    'competing',
    'get_backend',
    'group_moments',
    'inscribed_radius',
    'instance_moments',
    'layer_moments',
    'normalize',
    'selected_norm',
    'set_backend',
    'sparsemax',
    'sparsestmax',
    'switch_norm',
]

__getattr__ = refuse_renamed(
    __name__, {'chosen_norm': 'selected_norm', 'sparse_switch_norm': 'normalize'}
)
