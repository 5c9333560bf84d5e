"""Runs the ONNX files that ``export_onnx`` writes."""

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from ..commands import in_a_line, pip_install

META_KEY = 'ssn_mm'


class OnnxProgram:
    """A network in an ONNX file, as a function on tensors, run by onnxruntime.

    Args:
        source: The file, or its bytes.
        threads: Number of onnxruntime's threads; None for as many as PyTorch's.

    Attributes:
        meta: What was given at export: ``classes``, the names of the classes, ``task``, and
            ``measures``, see :func:`ssn_mm.layers.layers_that_measure`; and the ``precision`` and
            the ``preprocessing`` of the file.

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
                f'{name} is not an ONNX file that onnxruntime runs: {in_a_line(error)}'
            ) from error
        stored = self._session.get_modelmeta().custom_metadata_map
        self.meta: dict[str, Any] = json.loads(stored.get(META_KEY, '{}'))

    def __call__(self, inputs: Tensor) -> Tensor:
        """The network's outputs for ``inputs``, of the kind that the file takes, on the CPU.

        Raises:
            ValueError: The shape is not one that the network takes.
        """
        (takes,) = self._session.get_inputs()
        check_shape(inputs, takes.shape)
        try:
            (outputs,) = self._session.run(None, {takes.name: inputs.float().numpy(force=True)})
        except Exception as error:  # onnxruntime's own kinds share no other base
            raise ValueError(
                f'onnxruntime fails on inputs {tuple(inputs.shape)}: {in_a_line(error)}'
            ) from error
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


def require_onnx(precision: str = 'float32') -> None:
    """Checks that networks can be exported and run, before minutes are spent on it.

    Args:
        precision: The precision that convolutions will have.

    Raises:
        ImportError: A package for an export is missing; the error has the command to install it.
        ValueError: onnxruntime lacks convolutions of this precision here.
    """
    for name in ('onnx', 'onnxscript', 'onnxruntime'):
        import_for('ONNX', name, 'onnx')
    if precision not in ('float32', 'int8'):
        try:
            OnnxProgram(_convolution(precision))
        except ValueError as error:
            raise ValueError(
                f'onnxruntime cannot run {precision} here, nothing is written: {error}; choose '
                'another precision, or leave out ONNX'
            ) from error


def _convolution(precision: str) -> bytes:
    """A program of one convolution, to ask a runtime whether it has the precision."""
    onnx = importlib.import_module('onnx')
    kind, floats = getattr(onnx.TensorProto, precision.upper()), onnx.TensorProto.FLOAT
    make, info = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    weight = onnx.helper.make_tensor('weight', kind, (1, 1, 1, 1), [1.0])
    nodes = [
        make('Cast', ['inputs'], ['x'], to=kind),
        make('Conv', ['x', 'weight'], ['y'], name='a convolution'),
        make('Cast', ['y'], ['outputs'], to=floats),
    ]
    shape = ('n', 1, 'h', 'w')
    ends = [[info(name, floats, shape)] for name in ('inputs', 'outputs')]
    graph = onnx.helper.make_graph(nodes, 'probe', *ends, [weight])
    # the first version that knows bfloat16, which older runtimes do not know
    version, ir_version = (22, 10) if precision == 'bfloat16' else (18, 8)
    opset = [onnx.helper.make_opsetid('', version)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=ir_version)
    return model.SerializeToString()


def import_for(what: str, name: str, extra: str) -> ModuleType:
    """Imports a package of an extra.

    Raises:
        ImportError: It is not installed; says for what it is needed, and the command to install it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f'{what} needs {name}: {pip_install(f"ssn-mm[{extra}]")}') from error
