"""From a trained SSN to plain layers."""

from .export import export_onnx, export_openvino, export_program
from .fold import fold
from .freeze import freeze
from .frozen import load_frozen, save_frozen
from .onnx_program import OnnxProgram
from .openvino_program import OpenVinoProgram
from .tensor_mode import TensorMode

__all__ = [
    'OnnxProgram',
    'OpenVinoProgram',
    'TensorMode',
    'export_onnx',
    'export_openvino',
    'export_program',
    'fold',
    'freeze',
    'load_frozen',
    'save_frozen',
]
