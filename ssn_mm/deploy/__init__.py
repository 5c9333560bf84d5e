"""From a trained SSN to plain layers."""

from .export import export_program
from .fold import fold
from .freeze import freeze

__all__ = ['export_program', 'fold', 'freeze']
