"""Competitors timed side by side, and rows of what was measured."""
