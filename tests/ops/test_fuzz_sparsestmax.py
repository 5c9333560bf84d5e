"""Random rows of logits: what the paper says of SparsestMax, for a box of CPU time."""

import pytest
import references
import torch
from backends import ON_CPU

from ssn_mm.ops import circumscribed_radius, inscribed_radius, sparsestmax

st = pytest.importorskip('hypothesis.strategies')
from fuzzing import run_cases  # noqa: E402


@st.composite
def rows(draw):
    """Logits with ties, close to them, huge and tiny; and a radius, at a corner or not."""
    k = draw(st.integers(2, 6))
    free = st.floats(-3, 3, width=32)
    tied = st.sampled_from((0.0, 0.5, 1.0, 1.00001, 1.001, 1e30, -1e30))
    z = draw(st.lists(free, min_size=k, max_size=k) | st.lists(free | tied, min_size=k, max_size=k))
    corners = st.sampled_from((0.0, inscribed_radius(k), circumscribed_radius(k)))
    return z, draw(corners | st.floats(0, 1.25))


def check_row(row, backend, monkeypatch):
    """What Sec. 2.2 says of a point of SparsestMax, and Alg. 2 where it is well conditioned."""
    monkeypatch.setenv('SSN_MM_BACKEND', backend)
    values, radius = row
    k, z = len(values), torch.tensor(values, dtype=torch.float64, requires_grad=True)
    p = sparsestmax(z, radius)
    (gradient,) = torch.autograd.grad(p @ torch.linspace(-1, 1, k).double(), z)
    p = p.detach()
    assert gradient.isfinite().all()
    assert not gradient[p == 0].any()
    assert (p >= 0).all()
    assert abs(p.sum() - 1) < 1e-9
    full = radius >= circumscribed_radius(k)
    order = z.detach().argsort(descending=True, stable=True)  # among equals the first
    assert (p[order].diff() <= 1e-12).all()
    for one in torch.eye(k).double():
        assert torch.equal(sparsestmax(one, radius), one)
    apart = -z.detach()[order].diff()
    if full:
        assert p.tolist() == torch.eye(k)[order[0]].tolist()
    elif (apart > 2e-4).all():  # no tie, at which a point may stay within the circle
        assert (p - 1 / k).norm() >= radius - 1e-9
        if z.detach().abs().max() < 4:
            check_algorithm_2(values, radius, p)


def check_algorithm_2(values, radius, p):
    """A root at a corner of the radius is only as exact as the radius allows."""
    z = torch.tensor(values, dtype=torch.float64)
    near = [references.sparsestmax(z, radius * (1 + d)) for d in (0, 1e-15, -1e-15)]
    spread = max((one - near[0]).abs().max().item() for one in near)
    torch.testing.assert_close(p, near[0], rtol=0, atol=1e-9 + 4 * spread)


@pytest.mark.parametrize('backend', ON_CPU)
def test_points_of_sparsestmax_are_what_the_paper_says(backend, long, monkeypatch):
    run_cases(lambda row: check_row(row, backend, monkeypatch), rows(), 6, 500, 1000, long)
