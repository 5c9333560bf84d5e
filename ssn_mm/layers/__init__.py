"""Normalization layers; they need PyTorch alone."""

from .mixed_norm import MixedNorm
from .selection import keep_selected, set_radius, ssn_layers
from .switch_norm import SN, SSN, SwitchNorm

__all__ = ['SN', 'SSN', 'MixedNorm', 'SwitchNorm', 'keep_selected', 'set_radius', 'ssn_layers']
