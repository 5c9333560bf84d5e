"""Pickled data (annotations, features, results) read without running the code of a file."""

import io
import os
import pickle
from typing import Any, BinaryIO

import torch

_PLAIN = {  # what data of Python, numpy and PyTorch is put together by
    'builtins': 'bool bytearray bytes complex dict float frozenset int list object range set slice '
    'str tuple long unicode xrange',  # the last three are Python 2's
    'copyreg': '_reconstructor',
    'copy_reg': '_reconstructor',
    'collections': 'Counter OrderedDict defaultdict deque',
    'datetime': 'date datetime time timedelta timezone',
    'pathlib': 'Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath',
    '_codecs': 'encode',
    'numpy': 'dtype ndarray',
    'torch': 'Size device',
    'torch._utils': '_rebuild_parameter _rebuild_tensor _rebuild_tensor_v2',
}
_NUMPY = ('_reconstruct', 'scalar', '_frombuffer')  # in modules that numpy 2 has renamed
_STRUCTURES = tuple(
    f'{library}.structures' for library in ('mmengine', 'mmseg', 'mmpretrain', 'mmaction')
)


class DataUnpickler(pickle.Unpickler):
    """Reads containers, numbers, arrays, tensors and OpenMMLab's data elements, and nothing else.

    Raises:
        pickle.UnpicklingError: The file names anything else, which might run code.
    """

    def find_class(self, module: str, name: str) -> Any:
        """The object that a pickle names, if data is put together by it."""
        if module == 'torch.storage' and name == '_load_from_bytes':
            return _load_storage
        plain = 'builtins' if module == '__builtin__' else module  # protocol 2 has Python 2's name
        known = name in _PLAIN.get(plain, '').split()
        known |= module.startswith(('numpy.core.', 'numpy._core.')) and name in _NUMPY
        known |= module == 'numpy.dtypes' and name.endswith('DType')
        known |= module == 'torch' and name.endswith('Storage')
        known |= module == 'torch' and isinstance(getattr(torch, name, None), torch.dtype)
        if known and '.' not in name:  # a dot leads on from there, to any module
            return super().find_class(module, name)
        if module.startswith(_STRUCTURES) and '.' not in name:
            from mmengine.structures import BaseDataElement

            found = super().find_class(module, name)
            if isinstance(found, type) and issubclass(found, BaseDataElement):
                return found
        raise pickle.UnpicklingError(
            f'a pickled file holds more than data, GLOBAL {module}.{name}, and was refused; none '
            'of it was run. If you trust its origin as you trust a program, add --trust-checkpoint '
            'to a tool, or set TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1'
        )


def are_trusted() -> bool:
    """Whether the user trusts all files of this process, ``--trust-checkpoint`` of a tool."""
    return 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD' in os.environ


def load(file: BinaryIO, **options: Any) -> Any:
    """Reads a pickled file; in full where the user trusts what is loaded.

    Args:
        file: Open for reading bytes.
        **options: Those of ``pickle.load``.

    Raises:
        pickle.UnpicklingError: It holds more than data.
    """
    if are_trusted():
        return pickle.load(file, **options)
    return DataUnpickler(file, **options).load()


def loads(content: bytes, **options: Any) -> Any:
    """Reads what :func:`load` reads, from memory."""
    return load(io.BytesIO(content), **options)


def _load_storage(content: bytes) -> Any:
    return torch.load(io.BytesIO(content), weights_only=True)
