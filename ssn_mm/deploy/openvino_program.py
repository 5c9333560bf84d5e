"""Writes and runs networks as OpenVINO's files, a .xml and the .bin beside it."""

import json
import re
import tempfile
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .onnx_program import META_KEY, check_shape, import_for

_SUM = 'sum of the .bin'
_LACKING = re.compile(r'No conversion rule found for operations: (.*)')


class OpenVinoProgram:
    """A network in OpenVINO's files, as a function on tensors, run on the CPU.

    Each layer computes in the precision that the file gives it; where the processor has no float16,
    in float32.

    Args:
        source: The .xml file, whose .bin lies beside it; or the contents of both.
        threads: Number of OpenVINO's threads; None for as many as PyTorch's.

    Attributes:
        meta: What was given at export: ``classes``, the names of the classes, ``task``, and
            ``measures``, see :func:`ssn_mm.layers.layers_that_measure`; and the ``precision`` and
            the ``preprocessing`` of the file.

    Raises:
        FileNotFoundError: There is no such file, or its .bin is missing.
        ImportError: openvino is not installed.
        ValueError: OpenVINO cannot read or run the source, or the two files are not of one export.
    """

    def __init__(
        self, source: str | Path | tuple[bytes, bytes], threads: int | None = None
    ) -> None:
        core = openvino_core()
        name = 'the program' if isinstance(source, tuple) else str(source)
        xml, weights = source if isinstance(source, tuple) else _read(source)
        try:
            model = core.read_model(xml, weights)
            stored = model.get_rt_info([META_KEY]).value if model.has_rt_info([META_KEY]) else '{}'
            self.meta: dict[str, Any] = json.loads(stored)
            if self.meta.pop(_SUM, None) not in (None, zlib.crc32(weights)):
                raise ValueError(f'{name} and the .bin beside it are of two exports; export again')
            # processors with half precision would otherwise compute all of float32 in it
            half = self.meta.get('precision') in ('float16', 'bfloat16')
            options = {'INFERENCE_PRECISION_HINT': 'dynamic' if half else 'f32'}
            options['INFERENCE_NUM_THREADS'] = str(threads or torch.get_num_threads())
            self._compiled = core.compile_model(model, 'CPU', options)
        except RuntimeError as error:
            why = _why(error)
            raise ValueError(f'{name} is not a network that OpenVINO runs: {why}') from error

    def __call__(self, inputs: Tensor) -> Tensor:
        """The network's outputs for ``inputs``, of the kind that the file takes, on the CPU.

        Raises:
            ValueError: The shape is not one that the network takes.
        """
        shape = self._compiled.inputs[0].get_partial_shape()
        check_shape(inputs, [d.get_length() if d.is_static else '?' for d in shape])
        try:
            outputs = self._compiled([inputs.float().numpy(force=True)])[0]
        except RuntimeError as error:
            raise ValueError(
                f'OpenVINO fails on inputs {tuple(inputs.shape)}: {_why(error)}'
            ) from error
        return torch.from_numpy(outputs.copy())  # the next call writes to the same memory


def _read(file: str | Path) -> tuple[bytes, bytes]:
    for own in files_of_openvino(file):
        if not own.is_file():
            raise FileNotFoundError(f'no file {str(own)!r}; tools/deploy.py writes it')
    xml, weights = files_of_openvino(file)
    return xml.read_bytes(), weights.read_bytes()


def files_of_openvino(file: str | Path) -> tuple[Path, Path]:
    """The two files of a network, of which the .xml is named.

    Raises:
        ValueError: It has another suffix.
    """
    if Path(file).suffix != '.xml':
        raise ValueError(
            f'OpenVINO has an .xml file and a .bin beside it; name the .xml, got {str(file)!r}'
        )
    return Path(file), Path(file).with_suffix('.bin')


def as_openvino(onnx: bytes, meta: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """An ONNX program as the contents of OpenVINO's files, .xml and .bin.

    Args:
        onnx: The ONNX file's bytes.
        meta: What :class:`OpenVinoProgram` finds as its ``meta``, beside a sum of the .bin.

    Raises:
        ImportError: openvino is not installed.
        ValueError: OpenVINO lacks an operator, which is named.
    """
    openvino = _import()
    try:
        model = openvino_core().read_model(onnx)
    except RuntimeError as error:
        raise ValueError(
            f'OpenVINO cannot run the network: {_why(error)}; nothing is written'
        ) from error
    with tempfile.TemporaryDirectory() as scratch:
        xml, weights = files_of_openvino(f'{scratch}/model.xml')
        openvino.save_model(model, str(xml), compress_to_fp16=False)
        # a second time, with what tells whether the two files belong together
        stored = {**meta, _SUM: zlib.crc32(weights.read_bytes())}
        model.set_rt_info(json.dumps(stored), [META_KEY])
        openvino.save_model(model, str(xml), compress_to_fp16=False)
        return xml.read_bytes(), weights.read_bytes()


def require_openvino(precision: str = 'float32') -> None:
    """Checks that networks can be run, before minutes are spent on it.

    Args:
        precision: The precision that convolutions will have.

    Raises:
        ImportError: openvino is missing; the error has the command to install it.
        ValueError: This processor has no such precision, and OpenVINO nothing in its place.
    """
    if computes_in(precision) != precision and precision != 'float16':
        raise ValueError(
            f'OpenVINO has no {precision} on this processor, {_processor()}, so that nothing could '
            'be compared and nothing is written; choose another precision, or leave out OpenVINO'
        )


def computes_in(precision: str) -> str:
    """The precision that OpenVINO computes in on this processor, for that of a file."""
    names = dict(float16='FP16', bfloat16='BF16')
    able = openvino_core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES')
    return precision if names.get(precision, 'FP32') in able else 'float32'


def _why(error: RuntimeError) -> str:
    """What an error of OpenVINO says, without the places in its source that it begins with."""
    if lacking := _LACKING.search(str(error)):
        return f'it has no operator {lacking[1]}'
    lines = [line for line in str(error).splitlines() if not line.startswith('Exception from')]
    return ' '.join(filter(None, lines[:3]))


def _processor() -> str:
    return openvino_core().get_property('CPU', 'FULL_DEVICE_NAME').strip()


def openvino_core() -> Any:
    """OpenVINO's ``Core``, one for as long as the process runs.

    Each of its processor plugins brings a stack for signal handlers, and puts back the one before
    it when it ends. Where two end in the order in which they began, that one's memory is gone, and
    the next signal that is handled, as that of a data loader's worker, ends the process.

    Raises:
        ImportError: openvino is not installed.
    """
    return _started(_import())


@cache
def _started(openvino: Any) -> Any:
    return openvino.Core()


def _import() -> Any:
    return import_for('OpenVINO', 'openvino', 'openvino')
