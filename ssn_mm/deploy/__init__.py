"""From a trained SSN to plain layers."""

from .export import export_program
from .freeze import freeze

__all__ = ['export_program', 'freeze']
