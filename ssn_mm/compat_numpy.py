"""What the OpenMMLab libraries ask of numpy and SciPy that they no longer do, one function each.

They are pinned to an older numpy by nobody. Names that it removed, and conversions that it now
refuses, stop metrics after an evaluation and augmentations in the middle of a training. With an
older numpy every repair is left out, or changes nothing.
"""

from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .importing import after_import

CLIPS = 'mmaction.datasets.transforms.processing'
TUBES = 'mmaction.evaluation.functional.multisports_utils'
PROPOSALS = 'mmaction.evaluation.metrics.anet_metric'
PHOTOMETRIC = 'mmcv.image.photometric'
SPLINES = 'scipy.interpolate'


def apply() -> None:
    """Makes every repair, of modules that are imported later as soon as they are."""
    restore_names()
    after_import(
        {
            PHOTOMETRIC: let_hue_turn_back,
            CLIPS: let_hue_of_clips_turn_back,
            TUBES: convert_arrays_of_one,
            PROPOSALS: give_progress_bar,
            SPLINES: interpolate_grids,
        }
    )


def restore_names() -> bool:
    """Gives numpy the names that the libraries call: ``in1d`` in metrics of retrieval, ``trapz``
    in those of temporal proposals, ``Inf`` in transforms of poses, ``NAN`` in AVA's metric and
    ``float`` in mmcv's ``pixel_group``.
    """
    names = dict(in1d=_in1d, trapz=getattr(np, 'trapezoid', None), Inf=np.inf, NAN=np.nan)
    names['float'] = float
    missing = {name: value for name, value in names.items() if name not in vars(np)}
    vars(np).update(missing)
    return bool(missing)


def let_hue_turn_back(photometric: ModuleType) -> None:
    """Lets ``mmcv.adjust_hue``, and with it mmpretrain's ColorJitter, take factors below 0.

    It counts on ``np.uint8`` of a negative number to wrap around, as hues do.
    """
    own = photometric.adjust_hue
    if own.__module__ == __name__:
        return

    def adjust_hue(img: np.ndarray, hue_factor: float, backend: str | None = None) -> np.ndarray:
        return own(img, _Hue(hue_factor), backend)

    adjust_hue.__doc__ = own.__doc__
    for package in ('mmcv', 'mmcv.image', PHOTOMETRIC):
        after_import({package: lambda module: setattr(module, 'adjust_hue', adjust_hue)})


def let_hue_of_clips_turn_back(processing: ModuleType) -> None:
    """Lets mmaction2's ColorJitter, which TPN's stock configs have, turn hues both ways.

    It adds an offset below 0 to ``uint8``, which numpy 2 refuses.
    """
    import cv2

    def adjust_hue(img: np.ndarray, factor: float) -> np.ndarray:
        hsv = cv2.cvtColor(np.clip(img, 0, 255).astype(np.uint8), cv2.COLOR_RGB2HSV)
        hsv[..., 0] = (hsv[..., 0].astype(np.int16) + int(factor * 255)) % 180
        return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB).astype(np.float32)

    processing.ColorJitter.adjust_hue = staticmethod(adjust_hue)


def convert_arrays_of_one(module: ModuleType) -> None:
    """Lets ``int`` of an array with one element be that element, in a module that relies on it.

    MultiSports's metric finds the ends of a tube so.
    """
    module.int = lambda value: int(np.asarray(value).item())  # type: ignore[attr-defined]


def give_progress_bar(module: ModuleType) -> None:
    """Lets ActivityNet's metric show its progress by mmengine's bar; mmcv's has moved there."""
    from mmengine.utils import ProgressBar

    if not hasattr(module.mmcv, 'ProgressBar'):
        module.mmcv.ProgressBar = ProgressBar


def interpolate_grids(splines: ModuleType) -> None:
    """Gives SciPy ``interp2d``, by which position biases of BEiT and Swin change their size.

    Of it, what they ask for: values on a grid, and a spline of degree 1, 3 or 5 through them.
    """

    class Interp2d:
        def __init__(self, x: ArrayLike, y: ArrayLike, z: ArrayLike, kind: str = 'linear') -> None:
            degree = {'linear': 1, 'cubic': 3, 'quintic': 5}[kind]
            z = np.asarray(z).reshape(np.size(y), np.size(x))
            self._spline = splines.RectBivariateSpline(x, y, z.T, kx=degree, ky=degree)

        def __call__(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
            return self._spline(x, y).T

    version = import_module('scipy').__version__.split('.')
    if tuple(map(int, version[:2])) >= (1, 14):  # where it is there only to raise
        splines.interp2d = Interp2d  # type: ignore[attr-defined]


def _in1d(ar1: ArrayLike, ar2: ArrayLike, **options: Any) -> np.ndarray:
    return np.isin(np.ravel(ar1), ar2, **options)


class _Hue(float):
    """A factor whose product is of numpy, which converts its own numbers with a wrap."""

    def __mul__(self, other: Any) -> Any:
        return np.int64(float(self) * other)
