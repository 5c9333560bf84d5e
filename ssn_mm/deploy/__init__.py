"""From a trained SSN to plain layers."""

from ..layers import layers_that_measure
from .export import export_onnx, export_openvino, export_program
from .fold import fold
from .freeze import freeze
from .frozen import load_frozen, save_frozen
from .onnx_program import OnnxProgram
from .openvino_program import OpenVinoProgram
from .precision import TOLERANCES
from .preprocessing import Preprocessing, preprocessing_of
from .tensor_mode import TensorMode
from .tiles import TileReport, tile_report, whole_picture_statistics
from .torch_program import TorchProgram

__all__ = [
    'TOLERANCES',
    'OnnxProgram',
    'OpenVinoProgram',
    'Preprocessing',
    'TensorMode',
    'TileReport',
    'TorchProgram',
    'export_onnx',
    'export_openvino',
    'export_program',
    'fold',
    'freeze',
    'layers_that_measure',
    'load_frozen',
    'preprocessing_of',
    'save_frozen',
    'tile_report',
    'whole_picture_statistics',
]
