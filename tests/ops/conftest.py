"""Shared by the tests of operators."""

import pytest
import torch

from ssn_mm.ops.dispatch import BACKENDS


@pytest.fixture(autouse=True)
def _two_threads():
    """Kernels divide their work."""
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


@pytest.fixture(params=BACKENDS)
def each_backend(request, monkeypatch):
    """Names each backend in turn, with its maps on a GPU where that is Triton's only place."""
    monkeypatch.setenv('SSN_MM_BACKEND', request.param)
    on_gpu = request.param == 'triton' and torch.cuda.is_available()
    if request.param == 'triton' and not on_gpu:
        kernels = pytest.importorskip('ssn_mm.ops.backends.triton')
        monkeypatch.setattr(kernels.plans, '_PROGRAMS', 2)  # the interpreter takes long for each
    torch.set_default_device('cuda' if on_gpu else None)
    yield
    torch.set_default_device(None)
