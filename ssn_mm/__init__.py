"""Sparse switchable normalization for PyTorch and OpenMMLab."""

from importlib.util import find_spec

from . import needs, patches  # noqa: F401, needs first: an older Python cannot read the others
from .contestants import offered_norms
from .layers import (
    SN,
    SSN,
    MixedNorm,
    SyncSSN,
    convert_norms,
    keep_selected,
    let_go,
    plan_conversion,
    selection_entropy,
    set_radius,
    set_selection,
    set_temperature,
    update_bn,
)
from .layers.other_norms import offer_norms
from .ops import (
    circumscribed_radius,
    get_backend,
    inscribed_radius,
    set_backend,
    sparsemax,
    sparsestmax,
)
from .renamed import refuse_moved, refuse_renamed
from .version import __version__

__all__ = [
    'SN',
    'SSN',
    'MixedNorm',
    'SyncSSN',
    '__version__',
    'circumscribed_radius',
    'convert_norms',
    'get_backend',
    'inscribed_radius',
    'keep_selected',
    'let_go',
    'plan_conversion',
    'selection_entropy',
    'set_backend',
    'set_radius',
    'set_selection',
    'set_temperature',
    'sparsemax',
    'sparsestmax',
    'update_bn',
]

__getattr__ = refuse_renamed(__name__, {'set_choices': 'set_selection'})

refuse_moved()
patches.apply()
offer_norms(offered_norms)  # layers, which convert, know no contestants

if find_spec('mmengine'):  # ops and layers work without it
    from . import registration

    registration.register()
