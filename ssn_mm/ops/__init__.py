"""Pure functions on tensors: SparsestMax and the switchable normalization."""

from .moments import batch_moments, group_moments, instance_moments, layer_moments
from .normalizers import NORMALIZERS, competing
from .sparsestmax import circumscribed_radius, inscribed_radius, sparsemax, sparsestmax
from .switch_norm import chosen_norm, sparse_switch_norm, switch_norm

__all__ = [
    'NORMALIZERS',
    'batch_moments',
    'chosen_norm',
    'circumscribed_radius',
    'competing',
    'group_moments',
    'inscribed_radius',
    'instance_moments',
    'layer_moments',
    'sparse_switch_norm',
    'sparsemax',
    'sparsestmax',
    'switch_norm',
]
