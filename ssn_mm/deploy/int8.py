"""Post-training quantization of ONNX programs to 8-bit integers.

Convolutions and linear layers get weights of 8 bits, a scale for each output channel; the maps
between them get 8 bits, too, with ranges that are measured on samples. onnxruntime's quantizer
writes that as pairs of QuantizeLinear and DequantizeLinear, of which onnxruntime and OpenVINO make
kernels of integers. Norms that measure their input stay float32.
"""

import tempfile
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from torch import Tensor

from .onnx_layers import layer_of
from .onnx_program import check_shape, import_for

COMPUTING = ('Conv', 'ConvTranspose', 'Gemm', 'MatMul')
# operators that have kernels for 8 bits, so that maps stay in these from one layer to the next
BETWEEN = ('Add', 'Relu', 'MaxPool', 'AveragePool', 'GlobalAveragePool', 'Concat', 'Resize')


class Quantization:
    """A float32 ONNX program, with what its maps' ranges are on samples.

    Args:
        content: The program's bytes, as ``export_onnx`` writes them.
        samples: Inputs of the program, at least one: what the network will see in use.

    Attributes:
        layers: Names of the layers that can compute in int8.
        norms: By a layer's name, the norm in float32 that reads its output.

    Raises:
        ImportError: onnx or onnxruntime is not installed.
        ValueError: There is no sample, or no layer that can compute in int8.
    """

    def __init__(self, content: bytes, samples: Iterable[Tensor]) -> None:
        self._model = import_for('int8', 'onnx', 'onnx').load_from_string(content)
        self.content, self.samples = content, checked_samples(samples)
        self._nodes: dict[str, list[str]] = {}
        self._between: list[str] = []
        self.norms: dict[str, str] = {}
        outputs: dict[str, str] = {}  # by the name of a map, the layer that computed it
        for node in self._model.graph.node:
            name, is_norm = layer_of(node)
            if is_norm:
                self.norms |= {outputs[own]: name for own in node.input if own in outputs}
            elif node.op_type in COMPUTING and not _is_grouped_transposed(node):
                self._nodes.setdefault(name, []).append(node.name)
                outputs |= dict.fromkeys(node.output, name)
            elif node.op_type in BETWEEN:
                self._between.append(node.name)
        self.layers = list(self._nodes)
        if not self.layers:
            raise ValueError(
                f'the network has none of {", ".join(COMPUTING)}, so int8 has nothing to compute; '
                'export it in float32'
            )
        self._ranges = self._measured()

    def quantized(self, layers: Collection[str] | None = None) -> bytes:
        """The program with layers in int8.

        Args:
            layers: Names out of ``layers``; None for all, and then the maps between them stay in 8
                bits where that is possible.

        Returns:
            The bytes of an ONNX file of the same inputs and outputs, in float32.
        """
        tool = import_for('int8', 'onnxruntime.quantization', 'onnx')
        quantizer = import_for('int8', 'onnxruntime.quantization.qdq_quantizer', 'onnx')
        model = type(self._model)()
        model.CopyFrom(self._model)  # the quantizer changes what it is given
        names = [node for name in layers or self.layers for node in self._nodes[name]]
        # 0 to 255: a ReLU then needs no kernel of its own, and a processor's instructions for 8
        # bits multiply unsigned maps by signed weights
        kinds = (tool.QuantType.QInt8, tool.QuantType.QUInt8)
        nodes = names if layers else names + self._between
        own = quantizer.QDQQuantizer(
            model, True, False, *kinds, self._ranges, nodes, [], [*COMPUTING, *BETWEEN], {}
        )
        own.quantize_model()
        return own.model.model.SerializeToString()

    def _measured(self) -> Any:
        """The smallest and the largest number of each map, over all samples."""
        tool = import_for('int8', 'onnxruntime.quantization.calibrate', 'onnx')
        inputs = self._model.graph.input[0]
        sizes = [d.dim_value or d.dim_param for d in inputs.type.tensor_type.shape.dim]
        for sample in self.samples:
            check_shape(sample, sizes)
        numbers = ({inputs.name: own.float().numpy(force=True)} for own in self.samples)

        class Reader(tool.CalibrationDataReader):  # type: ignore[name-defined, misc]
            def get_next(self) -> dict | None:
                return next(numbers, None)

        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, 'model.onnx')
            file.write_bytes(self.content)
            calibrator = tool.create_calibrator(
                file, [*COMPUTING, *BETWEEN], augmented_model_path=f'{folder}/augmented.onnx'
            )
            calibrator.collect_data(Reader())
            return calibrator.compute_data()


def _is_grouped_transposed(node: Any) -> bool:
    """Whether a node is one of those whose bias onnxruntime's quantizer has no scale for."""
    groups = [own.i for own in node.attribute if own.name == 'group']
    return node.op_type == 'ConvTranspose' and groups not in ([], [1])


def checked_samples(samples: Iterable[Tensor]) -> list[Tensor]:
    """Calibration samples as a list.

    Raises:
        TypeError: One is not a tensor.
        ValueError: There is none, or one has a number that is not finite.
    """
    own = list(samples)
    if not own:
        raise ValueError(
            'int8 is calibrated with inputs such as the network will see, and there is none; give '
            'calibration at least one'
        )
    for sample in own:
        if not isinstance(sample, Tensor):
            raise TypeError(
                f'calibration takes preprocessed inputs as tensors, got {type(sample).__name__}'
            )
        if not sample.isfinite().all():
            raise ValueError('a calibration sample has numbers that are NaN or infinite')
    return own
