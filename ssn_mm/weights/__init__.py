"""Weights that come in: files, loading into a network, conversion of names and shapes."""
