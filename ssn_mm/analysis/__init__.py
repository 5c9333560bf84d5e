"""Reads runs; makes tables and figures."""

from .ratios import Ratios, plot_ratios, read_ratios

__all__ = ['Ratios', 'plot_ratios', 'read_ratios']
