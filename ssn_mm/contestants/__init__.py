"""The norms that are compared: one file each in ``norms``, and those that users register."""

from .neighbours import Arrangement, arrange
from .offering import offered_norms
from .plain import make_plain
from .record import ACTIVATES, STANDARDIZES, Contestant
from .registry import contestants, find_contestant, load_contestants, register_contestant
from .standardized import StandardizedConv1d, StandardizedConv2d, StandardizedConv3d

__all__ = [
    'ACTIVATES',
    'STANDARDIZES',
    'Arrangement',
    'Contestant',
    'StandardizedConv1d',
    'StandardizedConv2d',
    'StandardizedConv3d',
    'arrange',
    'contestants',
    'find_contestant',
    'load_contestants',
    'make_plain',
    'offered_norms',
    'register_contestant',
]
