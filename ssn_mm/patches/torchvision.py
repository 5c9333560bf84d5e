"""Lets torchvision be imported beside a PyTorch that its wheel was not built for."""

import sys
from contextlib import suppress
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, FileFinder
from importlib.util import find_spec
from pathlib import Path

import torch

from .importing import before_import

_libraries: list[torch.library.Library] = []  # a Library takes its schemas along when it dies


def apply() -> None:
    """Makes the patch just before torchvision is imported."""
    before_import({'torchvision': define_nms})


def define_nms() -> bool:
    """Defines the schemas that torchvision's import asks for where its extension does not load.

    Its wheel on PyPI is built for CUDA: beside a CPU torch the extension does not load, and the
    import stops at `operator torchvision::nms does not exist`. Schemas are all that the import
    asks for. They bring no kernel, so `torchvision.ops.nms` still raises what is missing.

    Returns:
        Whether that was needed.
    """
    folder = None if hasattr(sys.modules.get('torchvision'), 'ops') else _folder()
    ops = [op for op in ('nms', 'qnms') if not hasattr(torch.ops.torchvision, op)]
    if folder is None or not ops or _loads_extension(folder):
        return False
    library = torch.library.Library('torchvision', 'FRAGMENT')
    for op in ops:
        library.define(f'{op}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
    _libraries.append(library)
    return True


def _folder() -> Path | None:
    spec = find_spec('torchvision')
    places = spec.submodule_search_locations if spec else None
    return Path(places[0]) if places else None


def _loads_extension(folder: Path) -> bool:
    """Loads the extension as torchvision itself is about to; False if it cannot."""
    spec = FileFinder(str(folder), (ExtensionFileLoader, EXTENSION_SUFFIXES)).find_spec('_C')
    with suppress(OSError):
        if spec:
            torch.ops.load_library(spec.origin)
            return True
    return False
