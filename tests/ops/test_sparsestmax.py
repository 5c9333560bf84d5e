import math

import pytest
import references
import torch
from backends import ON_CPU
from torch.autograd.function import BackwardCFunction

from ssn_mm.ops import (
    circumscribed_radius,
    get_backend,
    inscribed_radius,
    set_backend,
    sparsemax,
    sparsestmax,
)


def project(z, radius, dtype=torch.float64):
    return sparsestmax(torch.tensor(z, dtype=dtype), radius)


@pytest.mark.parametrize(
    ('z', 'radius', 'expected'),
    [
        ((0.5, 0.3, 0.2), 0.15, (0.5, 0.3, 0.2)),
        ((0.5, 0.3, 0.2), 0.3, (0.56, 0.29, 0.15)),
        ((0.5, 0.3, 0.2), 0.6, (0.81, 0.19, 0)),
        ((0.5, 0.3, 0.2), 0.816, (1, 0, 0)),
        ((0.3, 0.25, 0.23, 0.22), 0.3, (0.49, 0.25, 0.15, 0.10)),
        ((0.3, 0.25, 0.23, 0.22), 0.6, (0.75, 0.23, 0.02, 0)),
        ((0.3, 0.25, 0.23, 0.22), 0.866, (1, 0, 0, 0)),
    ],
)
def test_sparsestmax_gives_the_numbers_of_the_papers_figure_2(z, radius, expected):
    torch.testing.assert_close(
        project(z, radius), torch.tensor(expected, dtype=torch.float64), atol=6e-3, rtol=0
    )


def test_sparsemax_gives_the_papers_example():
    p = sparsemax(torch.tensor([0.8, 0.6, 0.1]))
    torch.testing.assert_close(p, torch.tensor([0.6, 0.4, 0.0]))


@pytest.mark.parametrize('k', [2, 3, 4, 7])
def test_radii_are_those_of_the_simplex(k):
    vertex = torch.eye(k).double()[0]
    face = (1 - vertex) / (k - 1)
    assert circumscribed_radius(k) == pytest.approx((vertex - 1 / k).norm().item())
    assert inscribed_radius(k) == pytest.approx((face - 1 / k).norm().item())


@pytest.mark.parametrize('k', [2, 3, 4, 6])
def test_gradients_are_exact_in_float64(k):
    z = torch.randn(30, k, dtype=torch.float64, requires_grad=True)
    radius = torch.linspace(0, 0.99 * circumscribed_radius(k), 30, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda z: sparsestmax(z, radius), z)
    assert torch.autograd.gradcheck(sparsemax, z)


def test_gradient_is_orthogonal_to_the_direction_inside_the_circle():
    z = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad((sparsestmax(z, 0.3) * torch.randn(3)).sum(), z)
    assert gradient.abs().max() > 0.01
    assert (gradient @ (z.detach() - 1 / 3)).abs() < 1e-12


@pytest.mark.parametrize('backend', ON_CPU)
def test_gradients_do_not_depend_on_what_all_logits_have_in_common(backend, monkeypatch):
    monkeypatch.setenv('SSN_MM_BACKEND', backend)
    z = torch.tensor([0, 0.5, 0.5 + 2**-9])
    g = torch.randn(3)

    def gradient(z):
        z.requires_grad_()
        return torch.autograd.grad(sparsestmax(z, 0.55), z, g)[0]

    torch.testing.assert_close(gradient(z + 1024), gradient(z.clone()), rtol=1e-5, atol=1e-3)


def node(z):
    """Name of the graph's node that projects."""
    found = sparsestmax(z, 0.2).grad_fn.next_functions[0][0]
    # PyTorch 2.6 refuses the name of a node that is written in Python
    return type(found).__name__ if isinstance(found, BackwardCFunction) else found.name()


def test_an_empty_backend_name_is_read_as_none_and_an_unknown_one_refused(monkeypatch):
    z = torch.randn(2, 3, requires_grad=True)
    monkeypatch.delenv('SSN_MM_BACKEND', raising=False)
    best = node(z)
    monkeypatch.setenv('SSN_MM_BACKEND', '')
    assert node(z) == best
    monkeypatch.setenv('SSN_MM_BACKEND', 'gpu')
    with pytest.raises(RuntimeError, match=r"'gpu' is not available; choose from reference, cpu"):
        sparsestmax(z, 0.2)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('offset', [0, 1e-9, 1e-7, 1e-6, 1e-5, 1e-3])
@pytest.mark.parametrize('base', [(1, 1, 1), (1, 1, 0), (1, 1, 1, 1), (0.5, 0.5, 0.2, 0.2)])
def test_values_and_gradients_are_bounded_at_and_near_ties(base, offset, dtype):
    radius = torch.linspace(0, 1, 101, dtype=dtype)
    z = torch.tensor(base, dtype=dtype).repeat(101, 1)
    z[:, 0] += offset
    z.requires_grad_()
    p = sparsestmax(z, radius)
    assert (p >= 0).all()
    torch.testing.assert_close(p.sum(-1), torch.ones(101, dtype=dtype))
    (gradient,) = torch.autograd.grad(p[:, 0].sum(), z)
    assert gradient.isfinite().all()
    assert gradient.abs().max() < 1e4


def test_equal_logits_stay_at_the_centre_until_the_first_wins():
    p = sparsestmax(torch.ones(3, 3), torch.tensor([0.0, 0.5, 0.9]))
    torch.testing.assert_close(p[:2], torch.full((2, 3), 1 / 3))
    assert p[2].tolist() == [1, 0, 0]


def test_many_entries_follow_algorithm_2_too():
    for k in (32, 33, 50):  # either way of finding the support
        z = torch.randn(k, dtype=torch.float64) / 10
        for radius in (0.1, 0.4, 0.8):
            expected = references.sparsestmax(z, radius)
            torch.testing.assert_close(sparsestmax(z, radius), expected, atol=1e-9, rtol=0)


def test_logits_that_are_not_numbers_do_not_pass_silently():
    assert sparsestmax(torch.tensor([1.0, math.nan, 0.0]), 0.3).isnan().any()


def test_rows_are_independent_along_any_dimension():
    z, radius = torch.randn(4, 3, 5), torch.rand(4, 5)
    p = sparsestmax(z, radius, dim=1)
    assert p.shape == z.shape
    for i in range(4):
        for j in range(5):
            row = sparsestmax(z[i, :, j], radius[i, j].item())
            torch.testing.assert_close(p[i, :, j], row)


def test_half_precision_is_computed_in_float32():
    z = torch.tensor([[0.5, 0.3, 0.2]]).half()
    expected = sparsestmax(z.float(), 0.6).half()
    assert torch.equal(sparsestmax(z, 0.6), expected)


def test_compiles_without_graph_breaks_to_equal_results():
    z, radius = torch.randn(6, 3, requires_grad=True), torch.linspace(0, 0.9, 6)
    compiled = torch.compile(sparsestmax, fullgraph=True, backend='aot_eager')
    torch.testing.assert_close(compiled(z, radius), sparsestmax(z, radius))


@pytest.mark.parametrize('radius', [-0.1, math.nan, torch.tensor(-0.1), torch.tensor(math.nan)])
def test_a_radius_that_is_no_distance_is_refused(radius):
    with pytest.raises(ValueError, match=r'radius must be a number >= 0, got .*(-0.1|nan)'):
        sparsestmax(torch.ones(3), radius)


@pytest.mark.parametrize('function', [sparsemax, lambda z: sparsestmax(z, 0.1)])
def test_bad_logits_are_refused(function):
    with pytest.raises(ValueError, match='at least 2 entries, got 1'):
        function(torch.ones(5, 1))
    with pytest.raises(ValueError, match='0-d'):
        function(torch.tensor(1.0))
    with pytest.raises(TypeError, match=r'floating-point tensor, got torch\.int64'):
        function(torch.ones(3, dtype=torch.long))
    with pytest.raises(TypeError, match='got list'):
        function([1.0, 2.0])


def test_a_backend_that_is_set_comes_before_the_variable_until_it_is_taken_back(monkeypatch):
    z = torch.randn(2, 3, requires_grad=True)
    monkeypatch.setenv('SSN_MM_BACKEND', 'gpu')
    try:
        set_backend('reference')
        assert get_backend() == 'reference'
        assert node(z) == '_SparsestMaxBackward'
        set_backend('')
        assert get_backend() == ''
        with pytest.raises(ValueError, match=r"no backend 'gpu'; choose from reference, cpu, cpp"):
            set_backend('gpu')
        assert get_backend() == ''
    finally:
        set_backend(None)
    with pytest.raises(RuntimeError, match="SSN_MM_BACKEND='gpu'"):
        get_backend()
