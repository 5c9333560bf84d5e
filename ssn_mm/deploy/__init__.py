"""From a trained SSN to plain layers."""

from ..layers import layers_that_measure
from .bn_savings import bn_savings, select_bn
from .export import export_onnx, export_openvino, export_program
from .fold import fold
from .freeze import freeze
from .frozen import load_frozen, save_frozen
from .int8_losses import losses_by_layer
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
    'bn_savings',
    'export_onnx',
    'export_openvino',
    'export_program',
    'fold',
    'freeze',
    'layers_that_measure',
    'load_frozen',
    'losses_by_layer',
    'preprocessing_of',
    'save_frozen',
    'select_bn',
    'tile_report',
    'whole_picture_statistics',
]
