"""Writes and runs networks as OpenVINO's files, a .xml and the .bin beside it."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..files import write_atomically
from .onnx_program import META_KEY, check_shape, import_for


class OpenVinoProgram:
    """A network in OpenVINO's files, as a function on tensors, run on the CPU in float32.

    Args:
        source: The .xml file, whose .bin lies beside it; or the bytes of an ONNX file.
        threads: Number of OpenVINO's threads; None for as many as PyTorch's.

    Attributes:
        meta: What was given at export: ``classes``, the names of the classes, ``task``, and
            ``measures``, see :func:`ssn_mm.layers.layers_that_measure`.

    Raises:
        FileNotFoundError: There is no such file, or its .bin is missing.
        ImportError: openvino is not installed.
        ValueError: OpenVINO cannot read or run the source.
    """

    def __init__(self, source: str | Path | bytes, threads: int | None = None) -> None:
        openvino = _import()
        if not isinstance(source, bytes):
            for file in files_of_openvino(source):
                if not file.is_file():
                    raise FileNotFoundError(f'no file {str(file)!r}; tools/deploy.py writes it')
        # processors with half precision would otherwise compute in it
        options = {'INFERENCE_PRECISION_HINT': 'f32'}
        options['INFERENCE_NUM_THREADS'] = str(threads or torch.get_num_threads())
        core = openvino.Core()
        try:
            model = core.read_model(source if isinstance(source, bytes) else str(source))
            self._compiled = core.compile_model(model, 'CPU', options)
        except RuntimeError as error:
            name = 'the program' if isinstance(source, bytes) else str(source)
            raise ValueError(f'{name} is not a network that OpenVINO runs: {error}') from error
        stored = model.get_rt_info([META_KEY]).value if model.has_rt_info([META_KEY]) else '{}'
        self.meta: dict[str, Any] = json.loads(stored)

    def __call__(self, inputs: Tensor) -> Tensor:
        """The network's outputs for preprocessed ``inputs``, on the CPU.

        Raises:
            ValueError: The shape is not one that the network takes.
        """
        shape = self._compiled.inputs[0].get_partial_shape()
        check_shape(inputs, [d.get_length() if d.is_static else '?' for d in shape])
        outputs = self._compiled([inputs.float().numpy(force=True)])[0]
        return torch.from_numpy(outputs.copy())  # the next call writes to the same memory


def files_of_openvino(file: str | Path) -> tuple[Path, Path]:
    """The two files of a network, of which the .xml is named."""
    return Path(file), Path(file).with_suffix('.bin')


def save_openvino(onnx: bytes, out: str | Path, meta: Mapping[str, Any]) -> None:
    """Writes an ONNX program as OpenVINO's files, each as a whole, the .xml last.

    Args:
        onnx: The ONNX file's bytes.
        out: File to write, .xml; its weights go to the .bin beside it.
        meta: What :class:`OpenVinoProgram` finds as its ``meta``.

    Raises:
        ImportError: openvino is not installed.
        OSError: A file cannot be written.
    """
    openvino = _import()
    model = openvino.Core().read_model(onnx)
    model.set_rt_info(json.dumps(meta), [META_KEY])
    xml, weights = files_of_openvino(out)
    with tempfile.TemporaryDirectory() as scratch:
        openvino.save_model(model, f'{scratch}/model.xml', compress_to_fp16=False)
        write_atomically(weights, Path(f'{scratch}/model.bin').read_bytes())
        write_atomically(xml, Path(f'{scratch}/model.xml').read_bytes())


def require_openvino() -> None:
    """Raises ImportError, with the command to install it, if openvino is missing."""
    _import()


def _import() -> Any:
    return import_for('OpenVINO', 'openvino', 'openvino')
