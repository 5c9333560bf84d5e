"""What SciPy 1.14 removed and mmpretrain still calls."""

from importlib import import_module
from types import ModuleType
from typing import Any

from .importing import after_import


def apply() -> None:
    """Makes the patch once ``scipy.interpolate`` is imported."""
    after_import({'scipy.interpolate': restore_interp2d})


def restore_interp2d(splines: ModuleType) -> None:
    """Gives SciPy ``interp2d``, by which position biases of BEiT and Swin change their size.

    It does what they ask for: values on a grid, and a spline of degree 1, 3 or 5 through them.

    Args:
        splines: The module ``scipy.interpolate``.
    """
    import numpy as np

    class Interp2d:
        def __init__(self, x: Any, y: Any, z: Any, kind: str = 'linear') -> None:
            degree = {'linear': 1, 'cubic': 3, 'quintic': 5}[kind]
            z = np.asarray(z).reshape(np.size(y), np.size(x))
            self._spline = splines.RectBivariateSpline(x, y, z.T, kx=degree, ky=degree)

        def __call__(self, x: Any, y: Any) -> Any:
            return self._spline(x, y).T

    version = import_module('scipy').__version__.split('.')
    if tuple(map(int, version[:2])) >= (1, 14):  # there it only raises
        splines.interp2d = Interp2d  # type: ignore[attr-defined]
