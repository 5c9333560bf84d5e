import os

import pytest
import references
import torch
from flat_norms import selected_norm

from ssn_mm import ops
from ssn_mm.ops import NORMALIZERS, Logits, Norm, PerChannel, competing, normalize, switch_norm

ALL = len(NORMALIZERS)
RADIUS = torch.tensor(0.2)
pytestmark = pytest.mark.usefixtures('each_backend')
SHAPES = [(4, 6), (3, 6, 7), (3, 6, 5, 4), (2, 6, 3, 4, 2)]


def leaf(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def statistics(c, dtype=torch.float64):
    return torch.randn(c).to(dtype), (torch.rand(c) + 0.5).to(dtype)


@pytest.mark.parametrize('shape', SHAPES[1:])
@pytest.mark.parametrize('k', range(2, ALL + 1))
def test_the_mixture_equals_a_plain_composition(k, shape):
    x, weight, bias = leaf(*shape), leaf(6), leaf(6)
    ratios = torch.rand(2, k, dtype=torch.float64).softmax(1).requires_grad_()
    names, running = NORMALIZERS[-k:], statistics(6)
    y = switch_norm(x, ratios, names, weight, bias, *running, training=True, num_groups=3)
    given = (x, ratios, names, weight, bias)
    expected = references.switch_norm(*given, num_groups=3, running=running)
    torch.testing.assert_close(y, expected, rtol=1e-10, atol=1e-10)
    dy = torch.randn_like(y)
    inputs = (x, ratios, weight, bias)
    torch.testing.assert_close(
        torch.autograd.grad(y, inputs, dy),
        torch.autograd.grad(expected, inputs, dy),
        rtol=1e-9,
        atol=1e-9,
    )


@pytest.mark.parametrize('training', [True, False])
def test_all_gradients_are_exact(training):
    running = statistics(4)

    def function(x, ratios, weight, bias):
        return switch_norm(
            x, ratios, NORMALIZERS, weight, bias, *running, training=training, num_groups=2
        )

    ratios = leaf(2, ALL).softmax(1).detach().requires_grad_()
    inputs = (leaf(2, 4, 3, 2), ratios, leaf(4), leaf(4))
    quick = os.environ['SSN_MM_BACKEND'] == 'triton'  # random projections, for the interpreter
    assert torch.autograd.gradcheck(function, inputs, fast_mode=quick)


@pytest.mark.parametrize('layout', ['channels_last', 'strided', 'expanded'])
def test_strided_inputs_and_gradients_give_the_contiguous_result(layout):
    x, dy = torch.randn(2, 4, 6, 6), torch.randn(2, 4, 6, 6)
    ratios, running = torch.full((2, ALL), 1 / ALL), statistics(4, torch.float32)

    def lay_out(t):
        if layout == 'channels_last':
            return t.contiguous(memory_format=torch.channels_last)
        if layout == 'strided':
            return torch.stack([t, t], -1)[..., 0]
        return t[:1].expand_as(t)

    def run(x, dy):
        x = x.requires_grad_()
        options = dict(training=True, num_groups=2)
        y = switch_norm(x, ratios, NORMALIZERS, None, None, *running, **options)
        return y, torch.autograd.grad(y, x, dy)[0]

    y, dx = run(lay_out(x), lay_out(dy))
    expected_y, expected_dx = run(lay_out(x).contiguous(), lay_out(dy).contiguous())
    torch.testing.assert_close((y, dx), (expected_y, expected_dx))
    if layout == 'channels_last':
        assert y.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize('shape', SHAPES)
def test_an_activation_in_place_may_follow(shape):
    x = torch.randn(shape, requires_grad=True)
    ratios = torch.full((2, 3), 1 / 3)
    expected = switch_norm(x, ratios, training=True).relu()
    y = torch.relu_(switch_norm(x, ratios, training=True))
    torch.testing.assert_close(y, expected)
    dy = torch.randn(shape)
    torch.testing.assert_close(torch.autograd.grad(y, x, dy), torch.autograd.grad(expected, x, dy))


ODD = [(4, 5, 1, 7), (3, 7, 11, 13), (1, 6, 5, 4), (3, 1, 5, 4), (5, 67, 3, 2, 2), (2, 3, 4099)]
# float32 sums, and one rounding of the result; half types round y, dy and dx themselves
TOLERANCES = {torch.float32: 2e-5, torch.bfloat16: 2e-2, torch.float16: 3e-3}


@pytest.mark.parametrize('dtype', TOLERANCES)
@pytest.mark.parametrize('last', [False, True])
@pytest.mark.parametrize('shape', ODD)
def test_odd_maps_agree_with_float64(shape, last, dtype):
    layout = {4: torch.channels_last, 5: torch.channels_last_3d}.get(len(shape) if last else 0)
    c = shape[1]
    names = tuple(name for name in NORMALIZERS if name != 'GN' or c % 2 == 0)
    running = statistics(c, torch.float32)
    values = [
        torch.randn(shape) * 2 + 1,
        torch.rand(2, len(names)).softmax(1),
        torch.randn(c),
        torch.ones(c),
    ]
    dy = torch.randn(shape)

    def lay_out(t):
        return t.to(memory_format=layout) if layout else t

    def run(dtype):
        inputs = [lay_out(t.to(dtype)) if t is values[0] else t.to(wide[dtype]) for t in values]
        inputs = [t.detach().requires_grad_() for t in inputs]
        x, ratios, weight, bias = inputs
        options = dict(training=True, num_groups=2)
        y = switch_norm(x, ratios, names, weight, bias, *running, **options)
        assert y.dtype is dtype
        assert y.is_contiguous(memory_format=layout or torch.contiguous_format)
        gradients = torch.autograd.grad(y, inputs, lay_out(dy.to(dtype)))
        assert [g.dtype for g in gradients] == [t.dtype for t in inputs]
        return y, *gradients

    wide = {torch.float64: torch.float64} | dict.fromkeys(TOLERANCES, torch.float32)
    ours = run(dtype)
    values[0], dy = values[0].to(dtype), dy.to(dtype)  # what the half types saw
    for got, exact in zip(ours, run(torch.float64), strict=True):
        error = (got.double() - exact).abs().max()
        assert error <= TOLERANCES[dtype] * exact.abs().max().clamp(min=1)


def test_a_map_of_a_million_pixels_agrees_with_float64(monkeypatch):
    if os.environ['SSN_MM_BACKEND'] == 'triton' and not torch.cuda.is_available():
        monkeypatch.setattr('ssn_mm.ops.backends.triton.plans._CELLS', 1 << 17)  # fewer programs
    x, dy = torch.randn(1, 2, 1024, 1024) + 3, torch.randn(1, 2, 1024, 1024)
    ratios = torch.tensor([[0.2, 0.3, 0.5], [0.5, 0.3, 0.2]])

    def run(dtype):
        leaves = [t.to(dtype).requires_grad_() for t in (x, ratios)]
        y = switch_norm(*leaves, training=True)
        return y.detach(), *torch.autograd.grad(y, leaves, dy.to(dtype))

    for got, exact in zip(run(torch.float32), run(torch.float64), strict=True):
        assert (got - exact).abs().max() <= 2e-5 * exact.abs().max().clamp(min=1)


def test_autocast_keeps_the_dtype_of_the_map_and_float32_parameters():
    conv, weight = torch.nn.Conv2d(3, 6, 3), torch.ones(6, requires_grad=True)
    ratios = torch.full((2, 3), 1 / 3, requires_grad=True)
    with torch.autocast('cpu', torch.bfloat16):
        x = conv(torch.randn(2, 3, 8, 8))
        y = switch_norm(x, ratios, weight=weight, training=True)
        assert x.dtype is y.dtype is torch.bfloat16
    y.float().square().sum().backward()
    assert ratios.grad.dtype is weight.grad.dtype is torch.float32


def test_deterministic_mode_is_kept_and_repeats_bit_by_bit():
    x, dy = torch.randn(4, 6, 9, 9, requires_grad=True), torch.randn(4, 6, 9, 9)
    ratios = torch.full((2, 3), 1 / 3, requires_grad=True)

    def run():
        y = switch_norm(x, ratios, training=True)
        return y, *torch.autograd.grad(y, (x, ratios), dy)

    torch.use_deterministic_algorithms(True)
    try:
        first, second = run(), run()
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize('mean', NORMALIZERS)
@pytest.mark.parametrize('var', NORMALIZERS)
@pytest.mark.parametrize('training', [True, False])
def test_a_selection_by_name_equals_one_hot_ratios(mean, var, training):
    x, weight, bias = leaf(3, 6, 5, 4), leaf(6), leaf(6)
    rows = [NORMALIZERS.index(mean), NORMALIZERS.index(var)]
    ratios = torch.eye(ALL, dtype=torch.float64)[rows]
    options = dict(weight=weight, bias=bias, training=training, num_groups=3)

    def run(function, *arguments):
        stats = [torch.zeros(6).double(), torch.ones(6).double()]
        y = function(x, *arguments, running_mean=stats[0], running_var=stats[1], **options)
        dy = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).view_as(y)
        gradients = torch.autograd.grad(y, (x, weight, bias), dy)
        return y, *gradients, *(stats if 'BN' in (mean, var) else [])

    selected = run(selected_norm, torch.zeros(2, ALL).double(), mean, var)
    torch.testing.assert_close(
        selected, run(switch_norm, ratios, NORMALIZERS), rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
def test_a_mean_of_ten_thousand_is_normalised(layout):
    x = torch.randn(4, 8, 32, 32, dtype=torch.float64)
    ratios = torch.full((2, 3), 1 / 3)
    y = switch_norm((x + 1e4).float().to(memory_format=layout), ratios, training=True)
    expected = switch_norm(x, ratios, training=True)
    torch.testing.assert_close(y.double(), expected, rtol=0, atol=5e-3)


@pytest.mark.parametrize('parameters', [None, torch.bfloat16, torch.float32])
@pytest.mark.parametrize('name', NORMALIZERS)
def test_a_selection_by_name_measures_half_maps_in_float32(name, parameters):
    x, stats = (torch.randn(4, 6, 5, 4) + 10).bfloat16(), (torch.zeros(6), torch.ones(6))
    weight = parameters and torch.randn(6, dtype=parameters)
    options = dict(training=True, num_groups=3)
    y = selected_norm(x, torch.zeros(2, ALL), name, name, weight, None, *stats, **options)
    wide = weight if weight is None else weight.double()
    given = (x.double(), torch.zeros(2, ALL).double(), name, name, wide, None)
    exact = selected_norm(*given, torch.zeros(6), torch.ones(6), **options)
    torch.testing.assert_close(y.double(), exact, rtol=2**-7, atol=1e-5)  # Triton's truncates


def test_gradients_for_a_dead_map_are_exact_however_far_the_running_mean():
    dy, mean, var = torch.randn(2, 4, 3, 3), torch.full((4,), 100.0), torch.ones(4)

    def run(dtype):
        x = torch.zeros(2, 4, 3, 3, dtype=dtype, requires_grad=True)
        logits, stats = torch.zeros(2, 2, dtype=dtype), (mean.to(dtype), var.to(dtype))
        y = selected_norm(x, logits, 'BN', 'GN', None, None, *stats, num_groups=2)
        return torch.autograd.grad(y, x, dy.to(dtype))[0].double()

    exact = run(torch.float64)
    assert (run(torch.float32) - exact).abs().max() < 1e-5 * exact.abs().max()


def test_gradients_survive_a_mean_of_ten_thousand():
    x, dy = torch.randn(4, 8, 16, 16, dtype=torch.float64) + 1e4, torch.randn(4, 8, 16, 16)
    ratios = torch.tensor([[0.2, 0.3, 0.5], [0.5, 0.3, 0.2]])

    def gradients(dtype):
        inputs = [t.to(dtype).requires_grad_() for t in (x.float(), ratios)]
        y = switch_norm(*inputs, training=True)
        return [g.double() for g in torch.autograd.grad(y, inputs, dy.to(dtype))]

    for ours, exact in zip(gradients(torch.float32), gradients(torch.float64), strict=True):
        assert (ours - exact).abs().max() < 2e-3 * exact.abs().max()


def test_a_map_of_one_pixel_leaves_instance_norm_out():
    x, ratios = leaf(4, 6, 1, 1), torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.2, 0.6]]).double()
    y = switch_norm(x, ratios, training=True)
    handed = torch.tensor([[0.6, 0.4], [0.3, 0.7]]).double()
    assert competing(('IN', 'LN', 'BN'), x.shape, batch_stats=True) == (False, True, True)
    torch.testing.assert_close(y, switch_norm(x, handed, ('LN', 'BN'), training=True))


def test_batch_norm_takes_part_in_evaluation_on_one_value():
    x, mean, var = torch.randn(1, 3, 1, 1), torch.randn(3), torch.rand(3)
    bn_only = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    y = switch_norm(x, bn_only, ('LN', 'BN'), None, None, mean, var)
    torch.testing.assert_close(y, torch.nn.functional.batch_norm(x, mean, var))


def test_nothing_to_measure_is_refused():
    with pytest.raises(ValueError, match=r'more than 1 value per statistic.*\(1, 3, 1, 1\)'):
        switch_norm(torch.randn(1, 3, 1, 1), torch.ones(2, 2) / 2, ('IN', 'BN'), training=True)


def test_an_empty_batch_gives_an_empty_result_and_leaves_statistics_alone(monkeypatch):
    monkeypatch.delenv('SSN_MM_BACKEND')
    mean, var = torch.zeros(3), torch.ones(3)
    x = torch.randn(0, 3, 4, 4, requires_grad=True)
    ratios = torch.full((2, 3), 1 / 3, requires_grad=True)
    y = switch_norm(x, ratios, running_mean=mean, running_var=var, training=True)
    y.sum().backward()
    assert y.shape == x.shape
    assert torch.equal(ratios.grad, torch.zeros(2, 3))
    assert (mean.tolist(), var.tolist()) == ([0, 0, 0], [1, 1, 1])


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(normalizers=('BN', 'XN')), r"unknown normalizers \['XN'\]"),
        (dict(normalizers=()), 'at least 1 of the normalizers'),
        (dict(normalizers='BN'), "at least 1 .* got 'BN'"),
        (dict(normalizers=('BN', 'BN')), 'once only'),
        (dict(ratios=torch.ones(2, 4)), r'ratios must be \(2, 3\).*got \(2, 4\)'),
        (dict(weight=torch.ones(5)), r'weight must be \(6,\).*got \(5,\)'),
        (dict(running_mean=torch.ones(6)), 'both running_mean and running_var'),
        (dict(normalizers=('IN', 'LN', 'GN'), num_groups=4), 'num_groups=4 for 6 channels'),
        (dict(x=torch.ones(6)), r'\(N, C, \*spatial\), got shape \(6,\)'),
    ],
)
def test_arguments_that_do_not_fit_are_refused(change, message):
    arguments = dict(x=torch.randn(2, 6, 3, 3), ratios=torch.ones(2, 3) / 3) | change
    with pytest.raises(ValueError, match=message):
        switch_norm(**arguments)


@pytest.mark.parametrize('name', ['ratios', 'weight', 'bias', 'running_mean', 'running_var'])
def test_tensors_on_several_devices_are_refused_as_torch_does(name):
    """Kernels would read what is at that address on their own device."""
    tensors = dict(ratios=torch.ones(2, 3) / 3, weight=torch.ones(6), bias=torch.ones(6))
    tensors |= dict(running_mean=torch.ones(6), running_var=torch.ones(6))
    tensors[name] = tensors[name].to('meta')
    with pytest.raises(RuntimeError, match=r'one device, but the input is on cpu and \w+ on meta'):
        switch_norm(torch.randn(2, 6, 3, 3), **tensors)


def test_integer_input_is_refused():
    with pytest.raises(TypeError, match=r'floating-point tensor, got torch\.uint8'):
        switch_norm(torch.ones(2, 6, 3, 3, dtype=torch.uint8), torch.ones(2, 3) / 3)


@pytest.mark.parametrize('correction', [0, 1])
def test_an_unknown_backend_is_refused_with_the_others(correction, monkeypatch):
    monkeypatch.setenv('SSN_MM_BACKEND', 'gpu')
    norm = Norm(('IN', 'LN', 'BN'), correction=correction)
    with pytest.raises(RuntimeError, match=r"'gpu' is not available; choose from reference, cpu"):
        normalize(torch.randn(2, 6, 3, 3), Logits(torch.ones(2, 3) / 3), norm, PerChannel())


@pytest.mark.parametrize('shape', [(1, 3, 1, 5), (1, 3, 1, 1, 5)])
def test_a_sample_of_one_row_is_read_in_its_order_where_torch_takes_another(shape):
    """PyTorch's batch norm takes a transposed one for a map in channels last."""
    x, dy, logits = torch.randn(shape), torch.randn(shape), torch.zeros(2, 3)

    def run(x, dy):
        x = x.detach().requires_grad_()
        y = selected_norm(x, logits, 'BN', 'BN', training=True)
        return y.detach(), *torch.autograd.grad(y, x, dy)

    swapped = [t.transpose(1, -1).contiguous().transpose(1, -1) for t in (x, dy)]
    swapped = [t.as_strided(t.shape, (*[1] * (t.dim() - 1), 3)) for t in swapped]
    assert all(torch.equal(a, b) for a, b in zip(swapped, (x, dy), strict=True))
    expected = run(x.double(), dy.double())
    for maps in ((x, swapped[1]), (swapped[0], dy), swapped):
        for ours, want in zip(run(*maps), expected, strict=True):
            torch.testing.assert_close(ours.double(), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('name', ['IN', 'LN', 'GN'])
def test_a_large_mean_leaves_the_variance_of_channels_last_its_digits(name):
    x = (torch.randn(2, 8, 16, 16) + 1000).contiguous(memory_format=torch.channels_last)
    ours, want = (
        selected_norm(t, torch.zeros(2, 3), name, name, training=True, num_groups=2)
        for t in (x, x.double())
    )
    torch.testing.assert_close(ours.double(), want, rtol=0, atol=1e-2)


def test_a_function_that_has_another_name_says_which():
    with pytest.raises(AttributeError, match='chosen_norm is now selected_norm'):
        _ = ops.chosen_norm
    assert not hasattr(ops, 'nonsense')
