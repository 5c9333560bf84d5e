"""What the C++ kernels do by themselves: vectors, tiles, and threads that share them."""

import pytest
import torch

from ssn_mm.ops import set_backend, switch_norm
from ssn_mm.ops.backends import cpp

pytestmark = [
    pytest.mark.compiler,
    pytest.mark.skipif(bool(cpp.why_not_built()), reason='no compiler'),
]
RATIOS = ((0.2, 0.3, 0.4, 0.1), (0.3, 0.1, 0.2, 0.4))


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
    set_backend(None)


def outcome(backend, x, dy, normalizers=('IN', 'LN', 'BN', 'GN')):
    """Result and gradients of a call."""
    set_backend(backend)
    parameters = torch.float64 if x.dtype == torch.float64 else torch.float32
    channels = torch.linspace(0.5, 2, x.size(1), dtype=parameters)
    ratios = torch.tensor(RATIOS, dtype=parameters)[:, : len(normalizers)].requires_grad_()
    leaves = [x.clone().requires_grad_(), ratios]
    leaves += [channels.clone().requires_grad_(), channels.clone().requires_grad_()]
    y = switch_norm(leaves[0], ratios, normalizers, *leaves[2:], training=True, num_groups=2)
    y.backward(dy)
    return [y.detach(), *(leaf.grad for leaf in leaves)]


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize('count', [2, 7, 8, 15, 16, 17, 31, 49, 64, 65, 130, 2047, 2049, 4100])
def test_rows_of_every_length_are_normalized_whole(count, dtype):
    generator = torch.Generator().manual_seed(count)
    x, dy = (torch.randn(3, 4, count, generator=generator).to(dtype) for _ in range(2))
    x = x * 3 + 10
    exact = outcome('reference', x.double(), dy.double())
    bound = dict(rtol=0.02, atol=0.05) if dtype == torch.bfloat16 else dict(rtol=2e-5, atol=2e-5)
    scale = [max(1.0, t.abs().max().item()) for t in exact]
    for own, wanted, size in zip(outcome('cpp', x, dy), exact, scale, strict=True):
        torch.testing.assert_close(own.double() / size, wanted / size, **bound)


@pytest.mark.parametrize('mean', [0.0, 1e4, -1e4])
@pytest.mark.parametrize('outlier', [0.0, 1.0, 1e3])
@pytest.mark.parametrize('count', [2, 15, 49, 196, 256, 257, 5000])
def test_a_row_is_measured_at_any_mean_and_whatever_its_first_number_is(count, outlier, mean):
    generator = torch.Generator().manual_seed(count)
    x = torch.randn(3, 8, count, generator=generator) * (0.01 if outlier else 1) + mean
    x[..., 0] += outlier
    found = torch.ops.ssn_mm_cpp.moments(x)
    wanted = torch.var_mean(x.double(), 2, correction=0)[::-1]
    for own, right in zip(found, wanted, strict=True):
        torch.testing.assert_close(own.double(), right, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize('count', [3, 16, 17, 31, 49, 196])
def test_rows_are_written_wherever_they_begin_and_nothing_beside_them(count, dtype):
    like = dict(dtype=torch.float64 if dtype == torch.float64 else torch.float32)
    channels = [torch.linspace(0.5, 2, 6, **like) for _ in range(4)]
    for offset in range(0, 20, 3):
        memory = torch.randn(2 * 6 * count + 40).to(dtype)
        x = memory[offset : offset + 2 * 6 * count].view(2, 6, count)
        before, given = memory.clone(), x.clone()
        options = ('IN', 'BN', 1e-5, 1, 0, True)
        wanted = torch.ops.ssn_mm_cpp.mixed_norm(given, *channels, *options, False)
        torch.ops.ssn_mm_cpp.mixed_norm(x, *channels, *options, True)
        assert torch.equal(x, wanted)
        before[offset : offset + x.numel()] = wanted.flatten()
        assert torch.equal(memory, before)
        mean = given.double().mean(2, keepdim=True)
        gamma, beta, _, var = (t.double()[:, None] for t in channels)
        exact = (gamma * (given.double() - mean) / (var + 1e-5).sqrt() + beta).relu()
        bound = 0.02 if dtype == torch.bfloat16 else 1e-5
        torch.testing.assert_close(wanted.double(), exact, rtol=bound, atol=bound)


@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    'shape', [(2, 128, 14, 14), (200, 8, 7, 7), (3, 6, 64, 64), (1, 2, 99, 99)]
)
def test_a_result_does_not_depend_on_how_many_threads_share_the_work(shape, layout):
    generator = torch.Generator().manual_seed(0)
    x, dy = (torch.randn(shape, generator=generator) for _ in range(2))
    x, dy = (t.contiguous(memory_format=layout) for t in (x, dy))
    found = []
    for threads in (1, 2, 3, 7):
        torch.set_num_threads(threads)
        found += [outcome('cpp', x, dy) for _ in range(3)]
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_more_threads_than_work_leave_nothing_out_and_wait_for_nothing():
    x, dy = torch.randn(2, 1, 2, 129, 65).unbind()
    torch.set_num_threads(64)
    many = outcome('cpp', x, dy, ('IN', 'BN'))
    torch.set_num_threads(1)
    one = outcome('cpp', x, dy, ('IN', 'BN'))
    assert all(torch.equal(a, b) for a, b in zip(many, one, strict=True))


def layer_of_leaves():
    leaves = [torch.randn(2, 4, 9), torch.eye(2, 3), torch.ones(4), torch.zeros(4)]
    for leaf in leaves:
        leaf.requires_grad_()
    set_backend('cpp')
    kept = leaves[0] * 1  # no leaf, so that it may be written to
    y = switch_norm(kept, leaves[1], ('IN', 'LN', 'BN'), *leaves[2:], training=True)
    return leaves, kept, y


def test_a_graph_is_walked_once_unless_it_is_retained():
    leaves, _, y = layer_of_leaves()
    first = torch.autograd.grad(y.sum(), leaves, retain_graph=True)
    again = torch.autograd.grad(y.sum(), leaves)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    with pytest.raises(RuntimeError, match='second time'):
        torch.autograd.grad(y.sum(), leaves)


def test_a_map_that_was_written_to_has_no_gradient():
    leaves, kept, y = layer_of_leaves()
    with torch.no_grad():
        kept.mul_(2)
    with pytest.raises(RuntimeError, match='modified by an inplace operation'):
        torch.autograd.grad(y.sum(), leaves)


def test_only_what_needs_a_gradient_gets_one():
    leaves, _, y = layer_of_leaves()
    (alone,) = torch.autograd.grad(y.sum(), leaves[2:3])
    assert alone.shape == (4,)
    with torch.no_grad():
        assert not layer_of_leaves()[-1].requires_grad
    assert y.grad_fn.name() == 'SwitchNormBackward'
