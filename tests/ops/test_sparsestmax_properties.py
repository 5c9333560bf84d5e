"""What holds for any logits and radius."""

import itertools

import pytest
import references
import torch

from ssn_mm.ops import circumscribed_radius, sparsestmax

pytest.importorskip('hypothesis')
from hypothesis import assume, given, settings
from hypothesis import strategies as st

settings.register_profile('ops', deadline=None, max_examples=200)
settings.load_profile('ops')

logits = st.integers(2, 8).flatmap(
    lambda k: st.lists(st.floats(-3, 3, width=32), min_size=k, max_size=k)
)
radii = st.floats(0, 1.2)


def project(z, radius, dtype=torch.float64):
    return sparsestmax(torch.tensor(z, dtype=dtype), radius)


def far_from_ties(z, gap=0.01):
    return min(b - a for a, b in itertools.pairwise(sorted(z))) > gap


@given(logits, radii)
def test_sparsestmax_stays_on_the_simplex(z, radius):
    p = project(z, radius)
    assert (p >= 0).all()
    assert p.sum().item() == pytest.approx(1, abs=1e-9)


@given(logits, radii, st.randoms())
def test_sparsestmax_is_permutation_equivariant(z, radius, random):
    assume(len(set(z)) == len(z))  # among equal logits the first wins
    order = list(range(len(z)))
    random.shuffle(order)
    permuted = project([z[i] for i in order], radius)
    torch.testing.assert_close(permuted, project(z, radius)[order], atol=1e-7, rtol=0)


@given(logits, radii, st.floats(-100, 100))
def test_sparsestmax_is_shift_invariant(z, radius, shift):
    assume(far_from_ties(z))
    shifted = project([value + shift for value in z], radius)
    torch.testing.assert_close(shifted, project(z, radius), atol=1e-8, rtol=0)


@given(logits, radii, radii)
def test_support_never_grows_with_the_radius(z, one, other):
    support = project(z, min(one, other)) > 1e-9
    assert not (~support & (project(z, max(one, other)) > 1e-9)).any()


@given(logits, st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]))
def test_sparsestmax_is_one_hot_at_circumscribed_radius(z, dtype):
    z = torch.tensor(z, dtype=dtype)
    p = sparsestmax(z, circumscribed_radius(len(z)))
    assert p.dtype is dtype
    assert p.tolist() == [float(i == z.tolist().index(max(z.tolist()))) for i in range(len(z))]


@given(logits, radii)
def test_sparsestmax_follows_algorithm_2(z, radius):
    assume(far_from_ties(z))
    expected = references.sparsestmax(torch.tensor(z, dtype=torch.float64), radius)
    torch.testing.assert_close(project(z, radius), expected, atol=1e-7, rtol=0)


@given(st.lists(st.floats(-1, 1.5), min_size=3, max_size=3), st.floats(0.05, 0.8))
@settings(max_examples=60)
def test_sparsestmax_is_the_nearest_feasible_point_for_three(z, radius):
    assume(far_from_ties(z, 0.05))
    z, p = torch.tensor(z, dtype=torch.float64), project(z, radius)
    nearest = references.nearest_point(z, radius)
    assert (p - 1 / 3).norm() >= radius - 1e-7
    assert (p - z).norm() <= (nearest - z).norm() + 1e-9
    assert (p - nearest).norm() < 0.02


@given(logits, st.floats(0, 0.8))
def test_an_entry_that_is_zero_gets_no_gradient(z, radius):
    z = torch.tensor(z, dtype=torch.float64, requires_grad=True)
    p = sparsestmax(z, radius)
    p.square().sum().backward()
    assert (z.grad[p == 0].abs() < 1e-10).all()


@given(st.integers(0, 2), radii)
def test_a_vertex_maps_to_itself_without_gradient(index, radius):
    z = torch.eye(3)[index].requires_grad_()
    p = sparsestmax(z, radius)
    assert p.tolist() == torch.eye(3)[index].tolist()
    p.mul(torch.arange(3.0)).sum().backward()
    assert z.grad.tolist() == [0, 0, 0]
