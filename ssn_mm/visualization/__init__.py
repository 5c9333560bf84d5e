"""Figures, reports, and the hook that draws while a network trains."""
