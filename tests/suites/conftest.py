"""Fixtures of recorded ratios and results, and of a suite that trains in no time."""

from recorded import _make_ratios, results  # noqa: F401
from suites_of_text import _suite  # noqa: F401
