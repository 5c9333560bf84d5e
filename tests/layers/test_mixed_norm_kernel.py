"""The kernel of MixedNorm: every way through a map, ReLU, and where PyTorch's operators serve."""

import copy
import itertools
import pickle

import pytest
import torch
from mixed_norms import PAIRS, build, definition
from torch import nn

from ssn_mm.layers import MixedNorm
from ssn_mm.layers.relu import ReLUOnce
from ssn_mm.ops import dispatch, set_backend
from ssn_mm.ops.backends import cpp

pytestmark = pytest.mark.compiler
FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}
# rows shorter than a vector, that end within one, of several blocks; fewer samples than threads
SHAPES = [(3, 8, 5), (2, 8, 7, 7), (5, 8, 3, 20, 20), (1, 8, 150, 141)]
MAPS = [(shape, last) for shape in SHAPES for last in (False, True) if len(shape) > 3 or not last]
CASES = [(pair, *each) for pair in PAIRS for each in MAPS]
CASES += [(pair, (2, 8), False) for pair in PAIRS if 'IN' not in pair]  # it has nothing to measure


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def followed_by_relu(norm):
    norm.relu_follows = True
    return nn.Sequential(norm, ReLUOnce(inplace=True)).eval()


def assert_equal_to(norm, x, tolerance):
    """The output, with and without ReLU, in place and not, against Eq. 1 in float64."""
    expected = definition(norm, x)
    for relu, inplace in itertools.product([False, True], repeat=2):
        norm.relu_follows, norm.inplace, given = relu, inplace, x.clone()
        y = norm(given)
        assert y.dtype == x.dtype
        assert y.stride() == x.stride()
        assert (y.data_ptr() == given.data_ptr()) == inplace
        right = expected.relu() if relu else expected
        torch.testing.assert_close(y.double(), right, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(('pair', 'shape', 'last'), CASES, ids=str)
def test_every_shape_layout_and_number_of_threads_equals_the_definition(pair, shape, last, threads):
    norm, x = build(*pair), torch.randn(shape) * 3 + 1
    if last:
        x = x.contiguous(memory_format=FORMATS[len(shape)])
    for count in (1, 2, 5):
        threads(count)
        assert_equal_to(norm, x, 5e-5)


@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(('mean', 'var'), [('BN', 'LN'), ('IN', 'BN'), ('GN', 'IN')])
def test_other_types_are_normalized_in_place(mean, var, dtype):
    norm = build(mean, var, torch.float64 if dtype == torch.float64 else torch.float32)
    x = torch.randn(2, 8, 9, 31).to(dtype)
    assert_equal_to(norm, x, max(1e-13, 2 * torch.finfo(dtype).eps))
    assert_equal_to(norm, x.contiguous(memory_format=torch.channels_last), 1e-2)


def test_layers_of_half_precision_are_read():
    norm, x = build('BN', 'LN').bfloat16(), torch.randn(2, 8, 9, 3).bfloat16()
    torch.testing.assert_close(norm(x).double(), definition(norm, x), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(('mean', 'var'), [('IN', 'LN'), ('LN', 'GN'), ('GN', 'IN')])
def test_digits_far_from_zero_are_kept(mean, var):
    x = torch.randn(2, 8, 40, 50) + 1e4
    for layout in (torch.contiguous_format, torch.channels_last):
        norm, given = build(mean, var), x.contiguous(memory_format=layout)
        expected = definition(norm, given)
        # 1e4 in float32 has steps of 1e-3, which the means take part of
        torch.testing.assert_close(norm(given).double(), expected, rtol=1e-3, atol=5e-3)


def test_an_unbiased_variance():
    x = torch.randn(2, 8, 3, 3)
    for var in ('IN', 'LN', 'GN'):
        norm = build('BN', var)
        norm.correction = 1
        y = norm(x)
        set_backend('cpu')
        torch.testing.assert_close(y, norm(x), rtol=1e-5, atol=1e-6)
        set_backend(None)


def test_relu_of_nan_is_nan_and_of_infinity_what_relu_makes_of_it():
    norm = followed_by_relu(build('BN', 'BN'))
    norm[0].weight.fill_(1)
    x = torch.tensor([float('nan'), float('inf'), float('-inf'), -5.0, 0, 50]).expand(1, 8, 6)
    expected = [float('nan'), float('inf'), 0.0, 0.0]
    torch.testing.assert_close(norm(x)[0, 0, :4], torch.tensor(expected), equal_nan=True)


def test_a_map_is_rectified_once_and_by_the_relu_after_what_changed_it():
    net = followed_by_relu(build('LN', 'IN'))
    norm, relu = net
    y = norm(torch.randn(2, 8, 5, 5))
    assert y.min() == 0
    assert relu(y) is y
    y -= 1
    assert relu(y).min() == 0
    assert relu(torch.full((1,), -1.0)) == 0


def test_where_operators_are_recorded_or_gradients_needed_the_relu_is_its_own():
    net = followed_by_relu(build('LN', 'IN'))
    x = torch.randn(2, 8, 5, 5)
    expected = net(x)
    graph = torch.export.export(net, (x,)).graph_module.graph
    names = [str(node.target) for node in graph.nodes if node.op == 'call_function']
    assert not any('ssn_mm' in name for name in names)
    assert sum('relu' in name for name in names) == 1
    given = x.clone().requires_grad_()
    networks = {
        'traced': torch.jit.trace(net, x),
        'symbolic': torch.fx.symbolic_trace(net),
        'vmap': lambda x: torch.func.vmap(lambda one: net(one[None])[0])(x),
        'gradient': lambda _: net(given),
        'compiled': torch.compile(net, backend='aot_eager', fullgraph=True),
        'copy': copy.deepcopy(net),
        'inference': torch.inference_mode()(net),
    }
    for name, network in networks.items():
        torch.testing.assert_close(network(x), expected, rtol=1e-5, atol=1e-6, msg=name)
    net(given).sum().backward()
    assert given.grad.abs().max() > 0


def test_without_a_compiler_pytorchs_operators_and_the_relu_serve(monkeypatch):
    net, x = followed_by_relu(build('GN', 'LN')), torch.randn(2, 8, 5, 5)
    expected = net(x)
    dispatch._kernels.cache_clear()
    monkeypatch.setattr(cpp, 'why_not_built', lambda: 'no compiler')
    net = copy.deepcopy(net)  # which knows nothing of the call before
    assert net[0](x).min() < 0
    torch.testing.assert_close(net(x), expected, rtol=1e-5, atol=1e-6)
    set_backend('cpp')
    with pytest.raises(RuntimeError, match=r"'cpp' is not available.*no compiler"):
        net(x)
    set_backend(None)
    dispatch._kernels.cache_clear()


def test_autograd_notices_that_what_it_needs_was_overwritten():
    norm = build('LN', 'IN')
    norm.inplace = True
    x = torch.randn(2, 8, 5, 5, requires_grad=True)
    y = x.exp()  # whose gradient needs y
    with torch.no_grad():
        norm(y)
    with pytest.raises(RuntimeError, match='modified by an inplace operation'):
        y.sum().backward()


def test_a_layer_of_before_has_no_relu():
    norm = MixedNorm(8, 'LN', 'IN')
    state = {key: value for key, value in vars(norm).items() if key != 'relu_follows'}
    again = MixedNorm.__new__(MixedNorm)
    again.__setstate__(state)
    assert not again.relu_follows


@pytest.mark.parametrize('pair', [('LN', 'BN'), ('IN', 'LN')])
def test_what_is_known_of_the_map_before_holds_for_its_like_alone(pair):
    norm, x = build(*pair), torch.randn(2, 8, 5, 5)
    norm(x)
    assert norm._last.known is not None
    assert_equal_to(norm, torch.randn(2, 8, 5, 5), 5e-5)
    assert_equal_to(norm, torch.randn(3, 8, 4, 4), 5e-5)
    assert_equal_to(norm, torch.randn(3, 8, 4, 4).double(), 1e-12)
    norm.relu_follows = norm.inplace = False
    with pytest.raises(ValueError, match=r'expected \(N, 8, \*spatial\)'):
        norm(torch.randn(3, 4, 4, 4).double())
    with pytest.raises(TypeError, match='floating-point'):
        norm(torch.ones(3, 8, 4, 4, dtype=torch.int64))
    trained = torch.randn(3, 8, 4, 4).double().requires_grad_()
    with torch.enable_grad():
        norm(trained).sum().backward()
    assert trained.grad is not None
    try:
        set_backend('reference')
        norm.relu_follows = True
        assert norm(torch.randn(3, 8, 4, 4).double()).min() < 0  # operators leave it to the ReLU
    finally:
        set_backend(None)
    norm.weight = nn.Parameter(torch.full((8,), 3.0), requires_grad=False)
    norm.eps = 0.5
    assert_equal_to(norm, torch.randn(3, 8, 4, 4).double(), 1e-6)


def test_copies_and_pickles_know_no_map():
    norm = build('IN', 'LN')
    norm(torch.randn(2, 8, 5, 5))
    for other in (copy.deepcopy(norm), pickle.loads(pickle.dumps(norm))):
        assert other._last.known is None
        assert_equal_to(other, torch.randn(2, 8, 5, 5), 5e-5)
