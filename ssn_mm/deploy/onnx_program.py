"""Runs the ONNX files that ``export_onnx`` writes."""

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from ..commands import pip_install

META_KEY = 'ssn_mm'


class OnnxProgram:
    """A network in an ONNX file, as a function on tensors, run by onnxruntime.

    Args:
        source: The file, or its bytes.
        threads: Number of onnxruntime's threads; None for as many as PyTorch's.

    Attributes:
        meta: What was given at export: ``classes``, the names of the classes, ``task``, and
            ``measures``, see :func:`ssn_mm.layers.layers_that_measure`.

    Raises:
        FileNotFoundError: There is no such file.
        ImportError: onnxruntime is not installed.
        ValueError: The source is not an ONNX file.
    """

    def __init__(self, source: str | Path | bytes, threads: int | None = None) -> None:
        runtime = import_for('ONNX', 'onnxruntime', 'onnx')
        if not isinstance(source, bytes):
            if not Path(source).is_file():
                raise FileNotFoundError(f'no ONNX file {str(source)!r}; tools/deploy.py writes it')
            name, source = str(source), Path(source).read_bytes()
        else:
            name = 'the program'
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads or torch.get_num_threads()
        options.log_severity_level = 3
        # else its threads wait for the next call in a loop, on the cores that PyTorch needs
        options.add_session_config_entry('session.intra_op.allow_spinning', '0')
        providers = [p for p in _PROVIDERS if p in runtime.get_available_providers()]
        try:
            self._session = runtime.InferenceSession(source, options, providers=providers)
        except Exception as error:  # onnxruntime's own kinds share no other base
            raise ValueError(
                f'{name} is not an ONNX file that onnxruntime runs: {error}'
            ) from error
        stored = self._session.get_modelmeta().custom_metadata_map
        self.meta: dict[str, Any] = json.loads(stored.get(META_KEY, '{}'))

    def __call__(self, inputs: Tensor) -> Tensor:
        """The network's outputs for preprocessed ``inputs``, on the CPU.

        Raises:
            ValueError: The shape is not one that the network takes.
        """
        (takes,) = self._session.get_inputs()
        check_shape(inputs, takes.shape)
        (outputs,) = self._session.run(None, {takes.name: inputs.float().numpy(force=True)})
        return torch.from_numpy(outputs)


_PROVIDERS = ('CUDAExecutionProvider', 'CPUExecutionProvider')


def check_shape(inputs: Tensor, takes: Sequence[Any]) -> None:
    """Raises ValueError unless inputs have the shape that a network takes: numbers, or names."""
    fits = len(takes) == inputs.dim() and all(
        not isinstance(size, int) or size == own
        for size, own in zip(takes, inputs.shape, strict=True)
    )
    if not fits:
        raise ValueError(f'the network takes {list(takes)}, got {tuple(inputs.shape)}')


def require_onnx() -> None:
    """Raises ImportError, with the command to install it, if a package for an export is missing."""
    for name in ('onnx', 'onnxscript', 'onnxruntime'):
        import_for('ONNX', name, 'onnx')


def import_for(what: str, name: str, extra: str) -> ModuleType:
    """Imports a package of an extra.

    Raises:
        ImportError: It is not installed; says for what it is needed, and the command to install it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f'{what} needs {name}: {pip_install(f"ssn-mm[{extra}]")}') from error
