import pytest
import torch
from mixed_norms import PAIRS, build, definition

from ssn_mm.layers import MixedNorm, mixed_norm
from ssn_mm.ops import set_backend


@pytest.fixture(autouse=True, params=['cpp', 'cpu'])
def backend(request):
    """The kernel, and PyTorch's operators."""
    before = set_backend(request.param)
    yield request.param
    set_backend(before)


@pytest.mark.parametrize('shape', [(3, 8, 5), (2, 8, 7, 3), (1, 8, 1, 5), (2, 8, 3, 4, 5)])
@pytest.mark.parametrize(('mean', 'var'), PAIRS)
def test_every_pair_equals_the_definition(mean, var, shape):
    norm, x = build(mean, var), torch.randn(shape) * 3 + 1
    expected = definition(norm, x, ([mean], [var]))
    torch.testing.assert_close(norm(x).double(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(('mean', 'var'), PAIRS)
def test_channels_last_and_strided_maps(mean, var):
    norm, x = build(mean, var), torch.randn(2, 8, 6, 5)
    expected = norm(x)
    last = norm(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(last, expected, rtol=1e-4, atol=1e-5)
    assert last.is_contiguous(memory_format=torch.channels_last)
    strided = torch.randn(2, 8, 6, 10)[..., ::2].copy_(x)
    torch.testing.assert_close(norm(strided), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize(('mean', 'var'), [('BN', 'LN'), ('IN', 'BN'), ('LN', 'IN')])
def test_other_dtypes(mean, var, dtype):
    norm, x = build(mean, var), torch.randn(2, 8, 6, 5).to(dtype)
    y = norm.double()(x) if dtype == torch.float64 else norm(x)
    assert y.dtype == dtype
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(y.double(), definition(norm, x), rtol=4 * eps, atol=4 * eps)


@pytest.mark.parametrize(('mean', 'var'), PAIRS)
def test_a_network_that_is_trained_on_gets_exact_gradients(mean, var):
    norm = build(mean, var, torch.float64).requires_grad_()
    x = torch.randn(2, 8, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(norm, x)
    norm(x).square().sum().backward()
    assert norm.weight.grad.abs().min() > 0


@pytest.mark.parametrize(('mean', 'var'), PAIRS)
def test_in_place_it_overwrites_its_input_with_the_same_result(mean, var):
    norm, x = build(mean, var), torch.randn(2, 8, 6, 5)
    expected = norm(x)
    norm.inplace = True
    y = norm(x)
    assert y.data_ptr() == x.data_ptr()
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-6)


def test_a_map_above_the_cache_is_normalized_in_blocks_of_samples(monkeypatch):
    monkeypatch.setattr(mixed_norm, '_BLOCK', 2 * 8 * 30 * 4)  # two samples
    norm, x = build('LN', 'IN'), torch.randn(5, 8, 6, 5)
    expected = definition(norm, x)
    norm.inplace = True
    torch.testing.assert_close(norm(x).double(), expected, rtol=1e-4, atol=1e-5)


def test_what_gradients_need_is_not_overwritten():
    norm = build('BN', 'LN', torch.float64).requires_grad_()
    norm.inplace = True
    conv = torch.nn.Conv2d(3, 8, 1).double()
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: norm(conv(x).sigmoid()), x)


def test_many_pixels_far_from_zero_are_measured_to_float32():
    x = torch.randn(1, 8, 1024, 1024) + 100
    norm = build('BN', 'IN')
    torch.testing.assert_close(norm(x).double(), definition(norm, x), rtol=1e-4, atol=1e-3)


def test_several_normalizers_are_averaged():
    x = torch.randn(2, 8, 3, 3)
    for mean, var in ((['LN', 'BN'], ['BN']), (['LN', 'BN', 'FBN'], ['FBN', 'BN'])):
        norm = build(mean, var)
        expected = definition(norm, x, (mean, var))
        torch.testing.assert_close(norm(x).double(), expected, rtol=1e-4, atol=1e-5)
        again = build(mean, var)
        again.load_state_dict(norm.state_dict())
        assert torch.equal(again(x), norm(x))
    with pytest.raises(RuntimeError, match=r'mean LN\+BN\+BN, .* has mean LN\+BN,'):
        build(['LN', 'BN'], ['BN']).load_state_dict(norm.state_dict())


def test_in_refuses_maps_of_one_element():
    with pytest.raises(ValueError, match=r'IN has one element per statistic in \(2, 8, 1, 1\)'):
        build('BN', 'IN')(torch.randn(2, 8, 1, 1))


@pytest.mark.parametrize('mean', ['XN', (), ('IN', 'XN')])
def test_an_unknown_name_is_refused(mean):
    with pytest.raises(ValueError, match='unknown normalizer'):
        MixedNorm(8, mean, 'BN')


def test_groups_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(ValueError, match='num_groups=32'):
        MixedNorm(8, 'GN', 'BN')
