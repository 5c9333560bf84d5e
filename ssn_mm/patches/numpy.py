"""Names that numpy 2 removed and the OpenMMLab libraries still call."""

from types import ModuleType
from typing import Any

from .importing import after_import


def apply() -> None:
    """Makes the patch once numpy is imported."""
    after_import({'numpy': restore_names})


def restore_names(numpy: ModuleType) -> None:
    """Gives numpy 2 the names that it has removed.

    ``in1d`` is called by metrics of retrieval, ``trapz`` by those of temporal proposals, ``Inf``
    by transforms of poses, ``NAN`` by AVA's metric and ``float`` by mmcv's ``pixel_group``.
    """

    def in1d(ar1: Any, ar2: Any, **options: Any) -> Any:
        return numpy.isin(numpy.ravel(ar1), ar2, **options)

    trapz = getattr(numpy, 'trapezoid', None)
    names = dict(in1d=in1d, trapz=trapz, Inf=numpy.inf, NAN=numpy.nan, float=float)
    vars(numpy).update({key: value for key, value in names.items() if key not in vars(numpy)})
