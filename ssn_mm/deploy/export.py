"""Writes a frozen network as a program that runs without this package."""

import io
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.fx.experimental import _config
from torch.utils._pytree import tree_map

from ..commands import in_a_line
from ..files import write_atomically
from .onnx_program import META_KEY, OnnxProgram, require_onnx
from .openvino_program import OpenVinoProgram, require_openvino, save_openvino
from .tensor_mode import TensorMode

TOLERANCE = 1e-4  # of the largest output; float32 reaches 1e-6 or so


def export_program(model: nn.Module, inputs: Tensor, out: str | Path) -> float:
    """Exports a network with torch.export.

    ``torch.export.load(out).module()(inputs)`` then needs PyTorch alone, and takes any batch and
    size. The program is run and compared with the model before it is written.

    Args:
        model: A frozen network, of OpenMMLab or any other, in evaluation.
        inputs: Preprocessed images (N, C, H, W), clips (N, M, C, T, H, W), whose scores are
            (N * M, classes), or segments of a video (N, M, C, H, W). N and M are at least 2.
        out: File to write, .pt2.

    Returns:
        Largest difference between the program's outputs and the model's, relative to the largest
        output.

    Raises:
        ValueError: The outputs differ by more than 1e-4, or torch.export cannot follow a layer,
            which is named; nothing is written.
    """
    function = TensorMode(model).eval()
    file = io.BytesIO()
    with torch.no_grad(), _any_size():
        shapes = (_dynamic(inputs),)
        with _naming_layer(model, inputs):
            exported = torch.export.export(function, (inputs,), dynamic_shapes=shapes)
        torch.export.save(exported, file)
        file.seek(0)
        program = torch.export.load(file).module()
        difference = check_outputs(program, function, inputs, 'the exported program')
    write_atomically(out, file.getvalue())
    return difference


def export_onnx(
    model: nn.Module, inputs: Tensor, out: str | Path, meta: dict[str, Any] | None = None
) -> float:
    """Exports a network as ONNX, for any batch and size.

    onnxruntime runs the file, and its outputs are compared with the model's, before it is written.

    Args:
        model: A frozen network, in evaluation.
        inputs: Preprocessed images, clips or segments, see :func:`export_program`.
        out: File to write, .onnx.
        meta: What :class:`OnnxProgram` finds as its ``meta``, such as the names of the classes.

    Returns:
        Largest difference between the program's outputs and the model's, relative to the largest
        output.

    Raises:
        ImportError: onnx, onnxscript or onnxruntime is not installed.
        ValueError: The outputs differ by more than 1e-4, or a layer cannot be exported, which is
            named; nothing is written.
    """
    require_onnx()
    function = TensorMode(model).eval()
    content = _as_onnx(function, inputs, meta or {})
    difference = check_outputs(OnnxProgram(content), function, inputs, 'the ONNX program')
    write_atomically(out, content)
    return difference


def export_openvino(
    model: nn.Module, inputs: Tensor, out: str | Path, meta: dict[str, Any] | None = None
) -> float:
    """Exports a network for OpenVINO, for any batch and size.

    OpenVINO runs it on the CPU in float32, and its outputs are compared with the model's, before it
    is written.

    Args:
        model: A frozen network, in evaluation.
        inputs: Preprocessed images, clips or segments, see :func:`export_program`.
        out: File to write, .xml; the weights go to the .bin beside it.
        meta: What :class:`OpenVinoProgram` finds as its ``meta``, such as the names of the classes.

    Returns:
        Largest difference between the program's outputs and the model's, relative to the largest
        output.

    Raises:
        ImportError: openvino, onnx or onnxscript is not installed.
        ValueError: The outputs differ by more than 1e-4, or a layer cannot be exported, which is
            named; nothing is written.
    """
    require_onnx()
    require_openvino()
    function = TensorMode(model).eval()
    content = _as_onnx(function, inputs, meta or {})
    difference = check_outputs(OpenVinoProgram(content), function, inputs, 'the OpenVINO program')
    save_openvino(content, out, meta or {})
    return difference


def _as_onnx(function: TensorMode, inputs: Tensor, meta: dict[str, Any]) -> bytes:
    """A network as an ONNX file's bytes, for any batch and size."""
    with torch.no_grad(), _any_size(), _naming_layer(function.model, inputs):
        exported = torch.onnx.export(
            function,
            (inputs,),
            dynamo=True,
            dynamic_shapes=(_dynamic(inputs),),
            input_names=['inputs'],
            output_names=['outputs'],
            verbose=False,
        )
    assert exported is not None  # it is only where a file is named
    exported.model.metadata_props[META_KEY] = json.dumps(meta)
    return exported.model_proto.SerializeToString()


def check_outputs(
    program: Callable[[Tensor], Tensor],
    reference: Callable[[Tensor], Tensor],
    inputs: Tensor,
    what: str,
) -> float:
    """Largest difference of two functions' outputs, relative to the largest output.

    Args:
        program: The function that is checked.
        reference: The function that is right.
        inputs: What both are called with.
        what: What the first is called in the message.

    Raises:
        ValueError: The difference is above 1e-4, or a number is NaN.
    """
    with torch.no_grad():
        expected = reference(inputs)
    scale = expected.abs().max().item()
    difference = (program(inputs) - expected).abs().max().item() / (scale or 1.0)
    if not difference <= TOLERANCE:
        raise ValueError(
            f'outputs of {what} differ by {difference:.2g} of the largest, {scale:.3g}; at most '
            f'{TOLERANCE:g} is accepted, so it is not written'
        )
    return difference


@contextmanager
def _naming_layer(model: nn.Module, inputs: Tensor) -> Iterator[None]:
    """Has an exporter's failure name the part of the network that it cannot follow.

    Raises:
        ValueError: The exporter raised something, whatever it was.
    """
    try:
        yield
    except Exception as error:  # what torch.export, sympy or a converter to ONNX raises
        where = _not_exported(model, inputs) or 'the network'
        raise ValueError(
            f'{where} cannot be exported for any size ({in_a_line(error)}); the frozen checkpoint '
            'needs no export, tools/infer.py runs it'
        ) from error


def _not_exported(model: nn.Module, inputs: Tensor) -> str:
    """Type and name of the first part of a network that cannot be exported alone; '' if all can."""
    seen: dict[nn.Module, tuple] = {}
    hooks = [
        part.register_forward_pre_hook(lambda part, given: seen.__setitem__(part, given))
        for part in model.children()
    ]
    TensorMode(model)(inputs)
    for hook in hooks:
        hook.remove()
    for name, part in model.named_children():
        if part not in seen:
            continue
        shapes = tree_map(lambda x: _dynamic(x) if x.dim() > 3 else None, seen[part])
        try:
            torch.export.export(part, seen[part], dynamic_shapes=shapes)
        except Exception:  # whatever the exporter raised for the whole network
            return f'{type(part).__name__} ({name})'
    return ''


def _any_size() -> AbstractContextManager:
    """Lets an exporter not take a map of one pixel for a constant, which would fix its size."""
    if hasattr(_config, 'backed_size_oblivious'):
        return _config.patch(backed_size_oblivious=True)  # type: ignore[attr-defined]
    return nullcontext()


def _dynamic(inputs: Tensor) -> dict[int, Any]:
    """The dimensions that may vary, as torch.export takes them: all but the channels."""
    channels = inputs.dim() - (4 if inputs.dim() == 6 else 3)
    return {d: Dim.DYNAMIC for d in range(inputs.dim()) if d != channels}
