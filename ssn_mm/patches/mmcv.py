"""What mmcv-lite lacks, what numpy 2 refuses mmcv, and mmcv's folding beside SSN and SN."""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.machinery import PathFinder
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace
from typing import Any, NoReturn

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..layers import MixedNorm, SwitchNorm
from .importing import after_import


def apply() -> None:
    """Makes each patch once its module is imported."""
    after_import(
        {
            'mmcv.utils.ext_loader': let_ops_load,
            'mmcv.cnn.utils.fuse_conv_bn': end_at_other_norms,
            'mmcv.image.photometric': let_hue_turn_back,
        }
    )


@contextmanager
def accepted_version() -> Iterator[None]:
    """Has mmcv say a version that mmsegmentation 1.2 and mmaction2 1.2 accept; they take no 2.2.

    Nothing that they use has changed there: 2.2.0 and the maintained fork's 2.3 add operators and
    support of newer PyTorch. Upstream's mmpretrain of the same year takes 2.2 and later, too.
    """
    import mmcv

    own = getattr(mmcv, '__version__', '')
    number = re.match(r'(\d+)\.(\d+)', own)
    if number is None or (int(number[1]), int(number[2])) < (2, 2):
        yield
        return
    mmcv.__version__ = '2.1.0'
    try:
        yield
    finally:
        mmcv.__version__ = own


def let_ops_load(ext_loader: ModuleType) -> None:
    """Lets `mmcv.ops`, which mmseg imports, load under mmcv-lite: its ops raise when called.

    mmcv-lite has no `mmcv._ext`. A fake one in `sys.modules` would make mmengine take it for full
    mmcv, so the function that loads the extension is replaced instead.
    """
    spec = find_spec('mmcv')
    folder = spec.submodule_search_locations if spec else None
    if folder and not PathFinder.find_spec('mmcv._ext', list(folder)):
        vars(ext_loader)['load_ext'] = _load_missing_ops


def end_at_other_norms(fuse_conv_bn: ModuleType) -> None:
    """Lets mmcv's ``fuse_conv_bn`` forget a convolution at a norm that is not batch norm.

    mmcv's own goes on to the next batch norm, and folds that one across the norm in between.
    """
    fold = fuse_conv_bn._fuse_conv_bn

    def fuse(module: nn.Module) -> nn.Module:
        from mmengine.utils.dl_utils.misc import is_norm

        conv = None  # name of the one that the next batch norm would follow
        for name, child in module.named_children():
            if isinstance(child, _BatchNorm):
                if conv is not None:
                    module._modules[conv] = fold(module._modules[conv], child)
                    module._modules[name] = nn.Identity()
                    conv = None
            elif isinstance(child, nn.Conv2d):
                conv = name
            elif isinstance(child, SwitchNorm | MixedNorm) or is_norm(child):
                conv = None
            else:
                fuse(child)
        return module

    _replace('fuse_conv_bn', fuse, fuse_conv_bn.__name__, 'mmcv.cnn.utils', 'mmcv.cnn')


def let_hue_turn_back(photometric: ModuleType) -> None:
    """Lets ``mmcv.adjust_hue``, and with it mmpretrain's ColorJitter, take factors below 0.

    It counts on ``np.uint8`` of a negative number to wrap around, as hues do.
    """
    import numpy as np

    class Hue(float):
        """A factor whose product is of numpy, which converts its own numbers with a wrap."""

        def __mul__(self, other: Any) -> Any:
            return np.int64(float(self) * other)

    own = photometric.adjust_hue

    def adjust_hue(img: Any, hue_factor: float, backend: str | None = None) -> Any:
        return own(img, Hue(hue_factor), backend)

    adjust_hue.__doc__ = own.__doc__
    _replace('adjust_hue', adjust_hue, photometric.__name__, 'mmcv.image', 'mmcv')


def _replace(name: str, function: Callable, module: str, *packages: str) -> None:
    """Replaces a function in its module, and in the packages that have taken it from there."""
    vars(sys.modules[module])[name] = function
    for package in packages:
        if package in sys.modules and name in vars(sys.modules[package]):
            vars(sys.modules[package])[name] = function


def _load_missing_ops(name: str, funcs: list[str]) -> SimpleNamespace:
    def missing(op: str, *args: Any, **kwargs: Any) -> NoReturn:
        raise RuntimeError(f'mmcv-lite lacks the op {op!r}: install full mmcv in its place')

    return SimpleNamespace(**{op: partial(missing, op) for op in funcs})
