"""Lets torchvision be imported beside a PyTorch that its wheel was not built for, where it can."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, FileFinder
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import torch

from ..commands import pip_install
from .importing import before_import

_libraries: list[torch.library.Library] = []  # a Library takes its schemas along when it dies


def apply() -> None:
    """Makes the patch just before torchvision is imported."""
    before_import({'torchvision': _explain_failure})


@contextmanager
def _explain_failure() -> Iterator[None]:
    """Makes the patch; where torchvision fails all the same, says which version is the right one.

    Raises:
        ImportError: torchvision cannot be imported.
    """
    define_nms()
    try:
        yield
    except Exception as error:  # its modules register operators as they are executed
        minor = int(torch.__version__.split('.')[1])
        raise ImportError(
            f'torchvision {_version()} cannot be imported beside torch {torch.__version__} '
            f'({type(error).__name__}: {error}). Of the same release is torchvision '
            f'0.{minor + 15}: {pip_install(f"torchvision==0.{minor + 15}.*")}'
        ) from error


def _version() -> str:
    with suppress(PackageNotFoundError):
        return version('torchvision')
    return 'of an unknown version'


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
    """Loads the extension as torchvision itself is about to; False if it cannot.

    Its name stands in torchvision's own code: ``_C``, and ``_C_stable`` from 0.29 on. Where it
    loads and the schemas were there already, the process would end.
    """
    with suppress(OSError):
        code = (folder / 'extension.py').read_text(encoding='utf-8')
        for name in re.findall(r'(?:_load_library|_get_extension_path)\(["\'](\w+)', code):
            loader = (ExtensionFileLoader, EXTENSION_SUFFIXES)
            spec = FileFinder(str(folder), loader).find_spec(name)
            if spec:
                torch.ops.load_library(spec.origin)
                return True
    return False
