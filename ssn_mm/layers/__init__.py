"""Normalization layers, and what drives their selection; they need PyTorch alone."""

from ..renamed import refuse_renamed
from .averaging import update_bn
from .convert import ConversionPlan, convert_norms, plan_conversion
from .driving import (
    SELECTIONS,
    check_selected,
    check_selection,
    keep_selected,
    put_ratios,
    selecting_norms,
    set_radius,
    set_selection,
    ssn_layers,
    switch_norms,
)
from .letting_go import let_go
from .measuring import layers_that_measure, warn_of_tiles
from .mixed_norm import MixedNorm
from .selector_norm import (
    SelectorNorm,
    selection_entropy,
    selector_norms,
    set_temperature,
)
from .selectors import SELECTORS
from .summary import block_of, count_selected, layer_ratios, selection_by_stage, stage_of
from .switch_norm import SN, SSN, SwitchNorm, SyncSSN

__all__ = [
    'SELECTIONS',
    'SELECTORS',
    'SN',
    'SSN',
    'ConversionPlan',
    'MixedNorm',
    'SelectorNorm',
    'SwitchNorm',
    'SyncSSN',
    'block_of',
    'check_selected',
    'check_selection',
    'convert_norms',
    'count_selected',
    'keep_selected',
    'layer_ratios',
    'layers_that_measure',
    'let_go',
    'plan_conversion',
    'put_ratios',
    'selecting_norms',
    'selection_by_stage',
    'selection_entropy',
    'selector_norms',
    'set_radius',
    'set_selection',
    'set_temperature',
    'ssn_layers',
    'stage_of',
    'switch_norms',
    'update_bn',
    'warn_of_tiles',
]

__getattr__ = refuse_renamed(
    __name__,
    {
        'CHOICES': 'SELECTIONS',
        'check_decided': 'check_selected',
        'choices_by_stage': 'selection_by_stage',
        'set_choices': 'set_selection',
    },
)
