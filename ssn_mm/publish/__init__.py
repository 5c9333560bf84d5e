"""Trained networks as folders to give away, and such folders from others."""
