"""Fixtures of recorded ratios and results."""

from recorded import _make_ratios, results  # noqa: F401
