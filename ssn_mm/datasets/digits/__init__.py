"""Data that needs no download; the datasets over it are imported by the configs that use them."""

from .drawing import CLASSES, PALETTE, write_segmentation

__all__ = ['CLASSES', 'PALETTE', 'write_segmentation']
