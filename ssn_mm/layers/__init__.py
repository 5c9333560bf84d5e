"""Normalization layers; they need PyTorch alone."""

from .averaging import repair_update_bn, update_bn
from .choices import block_of, choices_by_stage, count_selected, layer_ratios, stage_of
from .driving import CHOICES, check_decided, keep_selected, set_choices, set_radius, ssn_layers
from .mixed_norm import MixedNorm
from .switch_norm import SN, SSN, SwitchNorm, SyncSSN

__all__ = [
    'CHOICES',
    'SN',
    'SSN',
    'MixedNorm',
    'SwitchNorm',
    'SyncSSN',
    'block_of',
    'check_decided',
    'choices_by_stage',
    'count_selected',
    'keep_selected',
    'layer_ratios',
    'repair_update_bn',
    'set_choices',
    'set_radius',
    'ssn_layers',
    'stage_of',
    'update_bn',
]
