"""Writes a frozen network as a program that runs without this package."""

import io
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..commands import in_a_line
from ..files import write_together
from .any_size import any_size, dynamic_sizes, naming_layer
from .int8 import Quantization
from .int8_program import quantize_program
from .onnx_layers import name_by_layers
from .onnx_norms import norms_as_operators
from .onnx_program import META_KEY, OnnxProgram, require_onnx
from .openvino_program import OpenVinoProgram, as_openvino, files_of_openvino, require_openvino
from .precision import TOLERANCES, FileNetwork, centred
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
    shapes = (dynamic_sizes(inputs),)
    with torch.no_grad(), any_size():
        with naming_layer(network, inputs):
            exported = torch.export.export(centred(network), (inputs,), dynamic_shapes=shapes)
        if network.precision == 'int8':
            quantized = quantize_program(exported.module(), network.samples)
            exported = torch.export.export(quantized, (inputs,), dynamic_shapes=shapes)
    torch.export.save(exported, file, extra_files={META_FILE: json.dumps(stored)})
    found = TorchProgram(file.getvalue())
    difference = _check(found, network, inputs, 'the exported program')
    return {out: file.getvalue()}, difference


def onnx_files(
    network: FileNetwork, inputs: Tensor, out: Path, meta: Mapping[str, Any] | None = None
) -> tuple[Contents, float]:
    """What :func:`export_onnx` writes, and what it returns."""
    require_onnx(network.precision)
    content = as_onnx(network, inputs, {**(meta or {}), **network.meta})
    return {out: content}, _check(OnnxProgram(content), network, inputs, 'the ONNX program')


def openvino_files(
    network: FileNetwork, inputs: Tensor, out: Path, meta: Mapping[str, Any] | None = None
) -> tuple[Contents, float]:
    """What :func:`export_openvino` writes, and what it returns."""
    require_onnx()
    require_openvino(network.precision)
    stored = {**(meta or {}), **network.meta}
    files = as_openvino(as_onnx(network, inputs, stored), stored)
    difference = _check(OpenVinoProgram(files), network, inputs, 'the OpenVINO program')
    return dict(zip(files_of_openvino(out), files, strict=True)), difference


def _check(program: Callable, network: FileNetwork, inputs: Tensor, what: str) -> float:
    """Compares a program with its network in float32: as exported, one sample, another size."""
    reference = network.in_float32()
    if network.samples:  # noise has other ranges than what int8 was calibrated with
        inputs = network.samples[0]
    height, width = inputs.shape[-2:]
    if network.samples:  # and so has what lies across the border of two copies
        other = inputs[:1, ..., : height - min(7, height // 4), : width - min(13, width // 4)]
    else:
        wider = torch.cat([inputs, inputs], -1)[..., : width + 13]
        other = torch.cat([wider, wider], -2)[:1, ..., : height + 7, :]
    sizes = [*network.samples] or [inputs, inputs[:1]]
    alike = [x for x in network.samples if x.shape == inputs.shape]
    if alike:  # a runtime's kernel may be right for one sample alone
        sizes.append(torch.cat(alike[:4]))
    with torch.no_grad(), suppress(Exception):  # of a network that takes one size alone
        reference(other)
        sizes.append(other)
    return max(check_outputs(program, reference, x, what, network.precision) for x in sizes)


def as_onnx(network: FileNetwork, inputs: Tensor, meta: Mapping[str, Any]) -> bytes:
    """A network as an ONNX file's bytes, for any batch and size."""
    content = before_int8(network, inputs, meta)
    if network.precision == 'int8':
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


def check_outputs(
    program: Callable[[Tensor], Tensor],
    reference: Callable[[Tensor], Tensor],
    inputs: Tensor,
    what: str,
    precision: str = 'float32',
) -> float:
    """Largest difference of two functions' outputs, relative to the largest output.

    Args:
        program: The function that is checked.
        reference: The function that is right.
        inputs: What both are called with.
        what: What the first is called in the message.
        precision: That of the program, whose tolerance applies.

    Raises:
        ValueError: The difference is above the tolerance, or a number is NaN; or the program does
            not run.
    """
    with torch.no_grad():
        expected = reference(inputs)
        try:
            found = program(inputs)
        except Exception as error:  # such as that of a kernel that lacks a type
            raise ValueError(
                f'{what}, of {precision}, does not run on inputs {tuple(inputs.shape)} here: '
                f'{in_a_line(error)}; it is not written'
            ) from error
    scale, tolerance = expected.abs().max().item(), TOLERANCES[precision]
    difference = (found - expected).abs().max().item() / (scale or 1.0)
    if not difference <= tolerance:
        hint = '' if precision == 'float32' else f'; {_why(precision, found)}'
        raise ValueError(
            f'outputs of {what} differ by {difference:.2g} of the largest, {scale:.3g}; at most '
            f'{tolerance:g} is accepted in {precision}, so it is not written{hint}'
        )
    return difference


def _why(precision: str, found: Tensor) -> str:
    if precision == 'float16' and not found.isfinite().all():
        return 'numbers above 65504 are none of float16; take bfloat16 or float32'
    return 'take float32, or recalibrate or train in this precision'
