"""The repairs that OpenMMLab needs on today's PyTorch, one function each.

Each repair is made only where it is needed, may be asked for any number of times, and returns
whether it repaired something. Full mmcv, a torchvision that matches torch, and a package that is
not installed are left alone.
"""

import sys
from contextlib import suppress
from functools import partial
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, FileFinder, PathFinder
from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError
from types import ModuleType, SimpleNamespace
from typing import Any, NoReturn

import torch

_libraries: list[torch.library.Library] = []  # a Library takes its schemas along when it dies
_NUMBERS = ('f8', 'f4', 'i8', 'i4')  # in HistoryBuffers, and as the best score


def apply() -> None:
    """Makes every repair that this environment needs; `import ssn_mm` calls it."""
    define_torchvision_nms()
    replace_mmcv_load_ext()
    stand_in_for_mmaction_drn()
    allow_mmengine_checkpoints()


def define_torchvision_nms() -> bool:
    """Lets torchvision import although its extension does not load.

    Its wheel on PyPI is built for CUDA: beside a CPU torch the extension does not load, and the
    import stops at `operator torchvision::nms does not exist`. Schemas are all that the import
    asks for. They bring no kernel, so `torchvision.ops.nms` still raises what is missing.
    """
    folder = None if 'torchvision' in sys.modules else _folder('torchvision')
    ops = [op for op in ('nms', 'qnms') if not hasattr(torch.ops.torchvision, op)]
    if folder is None or not ops or _loads_extension(folder):
        return False
    library = torch.library.Library('torchvision', 'FRAGMENT')
    for op in ops:
        library.define(f'{op}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
    _libraries.append(library)
    return True


def replace_mmcv_load_ext() -> bool:
    """Lets `mmcv.ops`, which mmseg imports, load under mmcv-lite: its ops raise when called.

    mmcv-lite has no `mmcv._ext`. A fake one in `sys.modules` would make mmengine take it for full
    mmcv, so the function that loads the extension is replaced instead.
    """
    folder = _folder('mmcv')
    if folder is None or PathFinder.find_spec('mmcv._ext', [str(folder)]):
        return False
    from mmcv.utils import ext_loader

    if ext_loader.load_ext is _load_missing_ops:
        return False
    ext_loader.load_ext = _load_missing_ops
    return True


def stand_in_for_mmaction_drn() -> bool:
    """Puts a module in the place of `mmaction.models.localizers.drn.drn`, absent from the wheel.

    The wheel of 1.2.0 left the folder out (open-mmlab/mmaction2#2714), and `import
    mmaction.models` stops there. DRN, a temporal localizer, raises when it is constructed.
    """
    name = 'mmaction.models.localizers.drn.drn'
    folder = _folder('mmaction')
    if folder is None or name in sys.modules or (folder / 'models/localizers/drn').exists():
        return False
    sys.modules[name] = ModuleType(name, 'Stand-in by ssn_mm.compat.')
    sys.modules[name].DRN = _MissingDRN  # type: ignore[attr-defined]
    return True


def allow_mmengine_checkpoints() -> bool:
    """Lets `torch.load` read the checkpoints that mmengine's Runner writes, and no code.

    Since torch 2.6 it reads weights only, and resuming stops at the HistoryBuffer, mmengine's
    training log. That class and the numbers in it are allowed. Two names in such a checkpoint
    would open more, and stand for a narrow function instead: `getattr`, which leads from any
    object to any module, and `numpy.dtype`, whose state can declare bytes to be objects.
    """
    if _folder('mmengine') is None:
        return False
    import numpy as np
    from mmengine.logging import HistoryBuffer

    allowed: list[Any] = [HistoryBuffer, np.ndarray, *(type(np.dtype(n)) for n in _NUMBERS)]
    allowed += [(_history_statistic, 'builtins.getattr'), (_number_type, 'numpy.dtype')]
    for value in (np.zeros(1), np.float64(0)):
        rebuild: Any = value.__reduce__()[0]
        for module in ('numpy.core.multiarray', 'numpy._core.multiarray'):  # numpy 1, numpy 2
            allowed.append((rebuild, f'{module}.{rebuild.__name__}'))
    missing = set(allowed).difference(torch.serialization.get_safe_globals())
    torch.serialization.add_safe_globals(list(missing))
    return bool(missing)


def _folder(package: str) -> Path | None:
    """Where an installed package lies, found without importing it."""
    spec = find_spec(package)
    places = spec.submodule_search_locations if spec else None
    return Path(places[0]) if places else None


def _loads_extension(folder: Path) -> bool:
    """Loads torchvision's extension as torchvision itself is about to; False if it cannot."""
    spec = FileFinder(str(folder), (ExtensionFileLoader, EXTENSION_SUFFIXES)).find_spec('_C')
    with suppress(OSError):
        if spec:
            torch.ops.load_library(spec.origin)
            return True
    return False


def _load_missing_ops(name: str, funcs: list[str]) -> SimpleNamespace:
    def missing(op: str, *args: Any, **kwargs: Any) -> NoReturn:
        raise RuntimeError(f'mmcv-lite lacks the op {op!r}: install full mmcv in its place')

    return SimpleNamespace(**{op: partial(missing, op) for op in funcs})


class _MissingDRN:
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise ImportError('the wheel of mmaction2 lacks DRN: install mmaction2 from its repository')


def _history_statistic(owner: Any, name: str) -> Any:
    """`getattr` for checkpoints, which name HistoryBuffer's statistics and need nothing else."""
    from mmengine.logging import HistoryBuffer

    if owner is HistoryBuffer and name in ('min', 'max', 'mean', 'current'):
        return getattr(HistoryBuffer, name)
    raise UnpicklingError(f"expected one of HistoryBuffer's statistics, got {name!r} of {owner!r}")


def _number_type(code: str, *_: Any) -> Any:
    """`numpy.dtype` for checkpoints; numpy's own object, which ignores the state it is given."""
    import numpy as np

    if code in _NUMBERS:
        return np.dtype(code)
    raise UnpicklingError(f'expected a number, one of {_NUMBERS}, got numpy dtype {code!r}')
