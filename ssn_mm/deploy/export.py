"""Writes a frozen network as a program that runs without this package."""

import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..files import write_together
from .any_size import any_size, dynamic_sizes, naming_layer
from .compare import check_file, check_other_size
from .int8 import Quantization
from .int8_program import quantize_program
from .onnx_layers import name_by_layers
from .onnx_norms import norms_as_operators
from .onnx_program import META_KEY, OnnxProgram, require_onnx
from .openvino_program import OpenVinoProgram, as_openvino, files_of_openvino, require_openvino
from .precision import FileNetwork, as_taken, centred
from .preprocessing import Preprocessing
from .torch_program import META_FILE, TorchProgram

Contents = Mapping[Path, bytes]


def export_program(
    model: nn.Module,
    inputs: Tensor,
    out: str | Path,
    meta: Mapping[str, Any] | None = None,
    precision: str = 'float32',
    preprocessing: Preprocessing | None = None,
    calibration: Iterable[Tensor] | None = None,
) -> float:
    """Exports a network with torch.export.

    ``torch.export.load(out).module()(inputs)`` then needs PyTorch alone, and takes any batch and
    size. The program is run and compared with the model before it is written. It takes and returns
    float32, in every precision.

    Args:
        model: A frozen network, of OpenMMLab or any other, in evaluation.
        inputs: Images (N, C, H, W), clips (N, M, C, T, H, W), whose scores are
            (N * M, classes), or segments of a video (N, M, C, H, W). N and M are at least 2. They
            are preprocessed, or pixels from 0 to 255 if there is a ``preprocessing``.
        out: File to write, .pt2.
        meta: What :class:`TorchProgram` finds as its ``meta``, such as the names of the classes.
        precision: 'float32', 'float16', 'bfloat16' or 'int8', in which all but the norms computes.
        preprocessing: What the file does to pixels first; None for preprocessed inputs.
        calibration: Inputs of the kind that the file takes, say 64 batches of one, on which int8
            measures the ranges of its maps: what the network will see in use.

    Returns:
        Largest difference between the program's outputs and the model's, relative to the largest
        output.

    Raises:
        ValueError: The outputs differ by more than the precision's tolerance, see
            ``ssn_mm.deploy.TOLERANCES``; or torch.export cannot follow a layer, which is named;
            or PyTorch cannot run it in this precision here. Nothing is written.
    """
    network = FileNetwork(model, precision, preprocessing, calibration)
    files, difference = program_files(network, inputs, Path(out), meta)
    write_together(files)
    return difference


def export_onnx(
    model: nn.Module,
    inputs: Tensor,
    out: str | Path,
    meta: Mapping[str, Any] | None = None,
    precision: str = 'float32',
    preprocessing: Preprocessing | None = None,
    calibration: Iterable[Tensor] | None = None,
) -> float:
    """Exports a network as ONNX, for any batch and size.

    onnxruntime runs the file, and its outputs are compared with the model's, before it is written.
    It takes and returns float32, in every precision.

    Args:
        model: A frozen network, in evaluation.
        inputs: Images, clips or segments, see :func:`export_program`.
        out: File to write, .onnx.
        meta: What :class:`OnnxProgram` finds as its ``meta``, such as the names of the classes.
        precision: 'float32', 'float16', 'bfloat16' or 'int8', in which all but the norms computes.
        preprocessing: What the file does to pixels first; None for preprocessed inputs.
        calibration: Inputs of the kind that the file takes, say 64 batches of one, on which int8
            measures the ranges of its maps: what the network will see in use.

    Returns:
        Largest difference between the program's outputs and the model's, relative to the largest
        output.

    Raises:
        ImportError: onnx, onnxscript or onnxruntime is not installed.
        ValueError: The outputs differ by more than the precision's tolerance, see
            ``ssn_mm.deploy.TOLERANCES``; or a layer cannot be exported, which is named; or
            onnxruntime lacks an operator, which is named. Nothing is written.
    """
    network = FileNetwork(model, precision, preprocessing, calibration)
    files, difference = onnx_files(network, inputs, Path(out), meta)
    write_together(files)
    return difference


def export_openvino(
    model: nn.Module,
    inputs: Tensor,
    out: str | Path,
    meta: Mapping[str, Any] | None = None,
    precision: str = 'float32',
    preprocessing: Preprocessing | None = None,
    calibration: Iterable[Tensor] | None = None,
) -> float:
    """Exports a network for OpenVINO, for any batch and size.

    OpenVINO runs it on the CPU, and its outputs are compared with the model's, before it is
    written. It takes and returns float32, in every precision. A processor without float16 computes
    in float32 from the file's float16 weights.

    Args:
        model: A frozen network, in evaluation.
        inputs: Images, clips or segments, see :func:`export_program`.
        out: File to write, .xml; the weights go to the .bin beside it.
        meta: What :class:`OpenVinoProgram` finds as its ``meta``, such as the names of the classes.
        precision: 'float32', 'float16', 'bfloat16' or 'int8', in which all but the norms computes.
        preprocessing: What the file does to pixels first; None for preprocessed inputs.
        calibration: Inputs of the kind that the file takes, say 64 batches of one, on which int8
            measures the ranges of its maps: what the network will see in use.

    Returns:
        Largest difference between the program's outputs and the model's, relative to the largest
        output.

    Raises:
        ImportError: openvino, onnx or onnxscript is not installed.
        ValueError: The outputs differ by more than the precision's tolerance, see
            ``ssn_mm.deploy.TOLERANCES``; or a layer cannot be exported, which is named; or
            OpenVINO lacks an operator, which is named, or this processor the precision. Nothing
            is written.
    """
    network = FileNetwork(model, precision, preprocessing, calibration)
    files, difference = openvino_files(network, inputs, Path(out), meta)
    write_together(files)
    return difference


def program_files(
    network: FileNetwork, inputs: Tensor, out: Path, meta: Mapping[str, Any] | None = None
) -> tuple[Contents, float]:
    """What :func:`export_program` writes, and what it returns."""
    stored, file = {**(meta or {}), **network.meta}, io.BytesIO()
    inputs = as_taken(inputs)
    shapes = (dynamic_sizes(inputs),)
    with torch.no_grad(), any_size():
        with naming_layer(network, inputs):
            exported = torch.export.export(centred(network), (inputs,), dynamic_shapes=shapes)
        if network.precision == 'int8':
            check_other_size(exported.module(), network, inputs, 'the exported program')
            quantized = quantize_program(exported.module(), network.samples)
            exported = torch.export.export(quantized, (inputs,), dynamic_shapes=shapes)
    torch.export.save(exported, file, extra_files={META_FILE: json.dumps(stored)})
    found = TorchProgram(file.getvalue())
    difference = check_file(found, network, inputs, 'the exported program')
    return {out: file.getvalue()}, difference


def onnx_files(
    network: FileNetwork, inputs: Tensor, out: Path, meta: Mapping[str, Any] | None = None
) -> tuple[Contents, float]:
    """What :func:`export_onnx` writes, and what it returns."""
    require_onnx(network.precision)
    content = as_onnx(network, inputs, {**(meta or {}), **network.meta})
    return {out: content}, check_file(OnnxProgram(content), network, inputs, 'the ONNX program')


def openvino_files(
    network: FileNetwork, inputs: Tensor, out: Path, meta: Mapping[str, Any] | None = None
) -> tuple[Contents, float]:
    """What :func:`export_openvino` writes, and what it returns."""
    named = files_of_openvino(out)
    require_onnx()
    require_openvino(network.precision)
    stored = {**(meta or {}), **network.meta}
    files = as_openvino(as_onnx(network, inputs, stored), stored)
    difference = check_file(OpenVinoProgram(files), network, inputs, 'the OpenVINO program')
    return dict(zip(named, files, strict=True)), difference


def as_onnx(network: FileNetwork, inputs: Tensor, meta: Mapping[str, Any]) -> bytes:
    """A network as an ONNX file's bytes, for any batch and size."""
    inputs = as_taken(inputs)
    content = before_int8(network, inputs, meta)
    if network.precision == 'int8':
        check_other_size(OnnxProgram(content), network, inputs, 'the ONNX program')
        return Quantization(content, network.samples).quantized()
    return content


def before_int8(network: FileNetwork, inputs: Tensor, meta: Mapping[str, Any]) -> bytes:
    """What :func:`as_onnx` returns, in float32 where that is int8.

    It is exported once for all runtimes, which on a large network takes minutes.
    """
    if network.onnx is None:
        with (
            torch.no_grad(),
            any_size(),
            naming_layer(network, inputs),
            norms_as_operators(network) as written,
        ):
            network.onnx = torch.onnx.export(
                network,
                (inputs,),
                dynamo=True,
                dynamic_shapes=(dynamic_sizes(inputs),),
                input_names=['inputs'],
                output_names=['outputs'],
                custom_translation_table=written,
                verbose=False,
            )
        name_by_layers(network.onnx.model.graph)
    network.onnx.model.metadata_props[META_KEY] = json.dumps(meta)
    return network.onnx.model_proto.SerializeToString()
