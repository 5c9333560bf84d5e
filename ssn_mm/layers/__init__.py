"""Normalization layers; they need PyTorch alone."""

from .mixed_norm import MixedNorm
from .selection import CHOICES, check_decided, keep_selected, set_choices, set_radius, ssn_layers
from .switch_norm import SN, SSN, SwitchNorm, SyncSSN

__all__ = [
    'CHOICES',
    'SN',
    'SSN',
    'MixedNorm',
    'SwitchNorm',
    'SyncSSN',
    'check_decided',
    'keep_selected',
    'set_choices',
    'set_radius',
    'ssn_layers',
]
