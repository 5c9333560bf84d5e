"""The digits dataset, which needs no download; configs import the class for their library."""

from .drawing import CLASSES, PALETTE, write_segmentation

__all__ = ['CLASSES', 'PALETTE', 'write_segmentation']
