"""Normalization layers; they need PyTorch alone."""

from .switch_norm import SN, SSN, SwitchNorm, keep_selected, set_radius, ssn_layers

__all__ = ['SN', 'SSN', 'SwitchNorm', 'keep_selected', 'set_radius', 'ssn_layers']
