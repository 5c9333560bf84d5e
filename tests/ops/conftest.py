"""Shared by the tests of operators."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _two_threads():
    """Kernels divide their work."""
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)
