import copy
import math
import warnings

import pytest
import references
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ssn_mm import SN, SSN, keep_selected, set_radius
from ssn_mm.ops import NORMALIZERS, circumscribed_radius

MEASURED = tuple(name for name in NORMALIZERS if name != 'FBN')
SHAPES = {1: (4, 6, 9), 2: (4, 6, 5, 7), 3: (2, 6, 3, 4, 5)}


def ssn(num_features=6, mean='BN', var='BN', **kwargs):
    """An SSN that has selected."""
    kwargs.setdefault('normalizers', NORMALIZERS if 'FBN' in (mean, var) else MEASURED)
    kwargs.setdefault('num_groups', 3)
    layer = SSN(num_features, **kwargs)
    with torch.no_grad():
        layer.ratio_logits.zero_()
        layer.ratio_logits[0, layer.normalizers.index(mean)] = 1
        layer.ratio_logits[1, layer.normalizers.index(var)] = 1
    set_radius(layer, 1.0)
    return layer


def measured(layer):
    """The layer, with running statistics as of an earlier training."""
    layer.running_mean.normal_(), layer.running_var.uniform_(0.5, 2)
    return layer


@pytest.mark.parametrize('spatial', SHAPES)
@pytest.mark.parametrize('name', NORMALIZERS)
def test_an_ssn_that_selected_x_is_x(name, spatial):
    layer, plain = ssn(mean=name, var=name), references.torch_norm(name, 6, spatial, 3)
    assert layer.selected == (name, name)
    with torch.no_grad():
        for ours, theirs in ((layer.weight, plain.weight), (layer.bias, plain.bias)):
            theirs.copy_(ours.copy_(torch.randn(6)))
        if name == 'FBN':
            plain.eval().load_state_dict(measured(layer).state_dict(), strict=False)
    for _ in range(3):
        x = (torch.randn(SHAPES[spatial]) * 3 + 1).requires_grad_()
        y, expected = layer(x), plain(x)
        torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)
        dy = torch.randn_like(y)
        torch.testing.assert_close(
            torch.autograd.grad(y, (x, layer.weight, layer.bias), dy),
            torch.autograd.grad(expected, (x, plain.weight, plain.bias), dy),
            rtol=1e-4,
            atol=1e-4,
        )
    if name in ('BN', 'FBN'):
        if name == 'FBN':  # ours counts batches of a training, whatever is selected
            assert layer.num_batches_tracked == 3
            layer.num_batches_tracked.zero_()
        assert dict(layer.named_buffers()).keys() >= dict(plain.named_buffers()).keys()
        for key, buffer in plain.named_buffers():
            torch.testing.assert_close(dict(layer.named_buffers())[key], buffer)
    x = torch.randn(SHAPES[spatial])
    torch.testing.assert_close(layer.eval()(x), plain.eval()(x), rtol=1e-5, atol=1e-5)


def test_running_statistics_average_over_all_batches_without_momentum():
    layer, plain = ssn(momentum=None), nn.BatchNorm2d(6, momentum=None)
    for _ in range(4):
        x = torch.randn(SHAPES[2])
        layer(x), plain(x)
    torch.testing.assert_close(layer.running_mean, plain.running_mean)
    torch.testing.assert_close(layer.running_var, plain.running_var)
    assert layer.num_batches_tracked == 4


@pytest.mark.parametrize('compiler', [None, 'aot_eager'])
@pytest.mark.parametrize(('mean', 'var'), [('LN', 'LN'), ('LN', 'BN')])
def test_what_the_host_knows_of_a_selection_changes_no_state(mean, var, compiler):
    """A loop that loads the state and goes on ends as the one that was never stopped."""
    layer = ssn(mean=mean, var=var)
    layer(torch.randn(SHAPES[2])).sum().backward()
    keep_selected(layer)
    resumed = SSN(6, normalizers=MEASURED, num_groups=3)
    resumed.load_state_dict(layer.state_dict())
    if compiler:
        resumed = torch.compile(resumed, backend=compiler)
    assert layer.selection.names == (mean, var)
    x = torch.randn(SHAPES[2])
    layer(x), resumed(x)
    torch.testing.assert_close(resumed.running_var, layer.running_var)
    if mean == var == 'LN':
        assert torch.equal(resumed.running_var, torch.ones(6))
    assert resumed.num_batches_tracked == layer.num_batches_tracked == 2


def test_parameters_and_buffers_start_as_documented():
    state = SSN(6, normalizers=('BN', 'LN')).state_dict()
    assert {key: tuple(value.shape) for key, value in state.items()} == {
        'weight': (6,),
        'bias': (6,),
        'ratio_logits': (2, 2),
        'normalizer_codes': (3, 2),
        'running_mean': (6,),
        'running_var': (6,),
        'num_batches_tracked': (),
        'radius': (),
    }
    assert (state['ratio_logits'] == 1).all()
    assert (state['running_var'] == 1).all()
    assert SSN(6, affine=False).weight is None
    assert SSN(6, normalizers=('IN', 'LN')).running_mean is None


def test_sn_is_softmax_and_never_selects():
    layer = SN(6)
    layer.ratio_logits.data.copy_(torch.tensor([[3.0, 1, 0], [0, 0, 0]]))
    torch.testing.assert_close(layer.ratios(), layer.ratio_logits.softmax(1))
    assert layer.selected == (None, None)


def test_mean_and_variance_are_selected_independently():
    layer = SSN(6)
    layer.ratio_logits.data.copy_(torch.tensor([[1.0, 1.2, 1], [1, 1, 3]]))
    assert layer.selected == (None, 'BN')
    set_radius(layer, 1.0)
    assert layer.selected == ('LN', 'BN')


def test_a_synchronised_layer_is_local_without_a_process_group():
    x = torch.randn(4, 6, 5, 5)
    torch.testing.assert_close(ssn(sync=True)(x), ssn()(x))


def test_representation_shows_the_current_ratios():
    text = repr(ssn(mean='BN', var='LN'))
    assert 'mean: IN 0.00 LN 0.00 BN 1.00 GN 0.00' in text
    assert 'var: IN 0.00 LN 1.00' in text


@pytest.mark.parametrize('optimizer', [
    lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1),
    lambda p: torch.optim.Adam(p, lr=0.1),
])  # fmt: skip
def test_a_selected_row_stays_selected_whatever_the_optimizer(optimizer):
    layer = SSN(6)
    step = optimizer(layer.parameters())
    for radius in torch.linspace(0, 0.9, 30).tolist() + [0.0] * 100:
        if radius or layer.selected == (None, None):
            set_radius(layer, radius)
        before = layer.selected
        loss = (layer(torch.randn(4, 6, 5, 5) + 1) * torch.randn(4, 6, 5, 5)).sum()
        step.zero_grad()
        loss.backward()
        step.step()
        keep_selected(layer)
        for earlier, now in zip(before, layer.selected, strict=True):
            assert earlier in (None, now)
    set_radius(layer, 0.0)  # a vertex needs no radius
    assert None not in layer.selected
    assert sorted(layer.ratio_logits[0].tolist()) == [0, 0, 1]


def test_momentum_without_keep_selected_leaves_the_vertex():
    layer = ssn()
    step = torch.optim.SGD([layer.ratio_logits], lr=0.1, weight_decay=0.1)
    layer(torch.randn(4, 6, 5, 5)).square().sum().backward()
    step.step()
    set_radius(layer, 0.0)
    assert layer.selected == (None, None)  # what keep_selected is there to prevent
    keep_selected(layer)
    assert layer.selected == ('BN', 'BN')


def test_keep_selected_leaves_rows_not_yet_selected_alone():
    layer = SSN(6)
    set_radius(layer, 0.5)
    layer.ratio_logits.data.copy_(torch.tensor([[1.0, 1.3, 0.9], [5, 1, 1]]))
    keep_selected(layer)
    assert layer.selected == (None, 'IN')
    torch.testing.assert_close(layer.ratio_logits, torch.tensor([[1.0, 1.3, 0.9], [1, 0, 0]]))


def test_a_selected_parameter_stays_in_the_graph_with_gradient_zero():
    layer = ssn()
    layer(torch.randn(4, 6, 5, 5)).square().sum().backward()
    assert torch.equal(layer.ratio_logits.grad, torch.zeros(2, len(MEASURED)))


def test_selections_survive_half_precision():
    layer = ssn(mean='LN', var='GN').half()
    assert layer.selected == ('LN', 'GN')
    layer = SSN(6).bfloat16()
    set_radius(layer, 1.0)
    assert None not in layer.selected


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_under_autocast_output_follows_the_input_and_parameters_stay_float32(dtype):
    layer = SSN(6)
    set_radius(layer, 0.3)
    x = torch.randn(4, 6, 5, 5).to(dtype).requires_grad_()
    with torch.autocast('cpu', dtype):
        y = layer(x)
        assert layer.ratios().dtype is torch.float32
    y.float().square().sum().backward()
    assert y.dtype is dtype
    assert {p.grad.dtype for p in layer.parameters()} == {torch.float32}


@pytest.mark.parametrize('reentrant', [True, False])
def test_checkpointing_sees_the_same_ratios_and_updates_statistics_once(reentrant):
    plain = SSN(6)
    set_radius(plain, 0.3)
    plain.ratio_logits.data.normal_()
    recomputed = copy.deepcopy(plain)
    x = torch.randn(4, 6, 5, 5, requires_grad=True)
    y = checkpoint(recomputed, x, use_reentrant=reentrant)
    torch.testing.assert_close(
        torch.autograd.grad(y.square().sum(), x) if not reentrant else _backward(y, x),
        torch.autograd.grad(plain(x).square().sum(), x),
    )
    for key, value in plain.state_dict().items():
        assert torch.equal(recomputed.state_dict()[key], value), key


def _backward(y, x):
    y.square().sum().backward()  # reentrant checkpointing knows no torch.autograd.grad
    return (x.grad,)


def test_a_map_of_one_pixel_warns_once_a_layer():
    layer = ssn(mean='LN', var='LN', normalizers=('IN', 'LN', 'BN'))
    with pytest.warns(UserWarning, match=r'SSN\(6\): IN left out for input \(4, 6, 1, 1\)'):
        layer(torch.randn(4, 6, 1, 1))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        y = layer(torch.randn(4, 6, 1, 1))
    assert y.isfinite().all()


def test_training_without_a_radius_warns_once(monkeypatch):
    monkeypatch.setattr(SSN, '_warned_radius', False)
    with pytest.warns(UserWarning, match='SSNRadiusHook'):
        SSN(6)(torch.randn(2, 6, 3, 3))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        SSN(6)(torch.randn(2, 6, 3, 3))


def test_evaluation_and_managed_training_do_not_warn(monkeypatch):
    monkeypatch.setattr(SSN, '_warned_radius', False)
    managed, loaded = SSN(6), SSN(6)
    set_radius(managed, 0.0)
    loaded.load_state_dict(ssn(normalizers=('IN', 'LN', 'BN')).state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for layer in (SSN(6).eval(), managed, loaded):
            layer(torch.randn(2, 6, 3, 3))


def test_zero_gamma_at_the_start_gives_finite_gradients():
    layer = SSN(6)
    nn.init.zeros_(layer.weight)
    for radius in (0.0, 0.2, 0.5):
        set_radius(layer, radius)
        layer.zero_grad()
        layer(torch.randn(4, 6, 5, 5)).sum().backward()
        assert all(p.grad.isfinite().all() for p in layer.parameters())


def test_a_compiled_layer_equals_the_layer_without_graph_breaks():
    layer = SSN(6)
    set_radius(layer, 0.3)
    eager = copy.deepcopy(layer)
    compiled = torch.compile(layer, fullgraph=True, backend='aot_eager')
    x = torch.randn(4, 6, 5, 5, requires_grad=True)
    for mode in (True, False):
        layer.train(mode), eager.train(mode)
        y, expected = compiled(x), eager(x)
        torch.testing.assert_close(y, expected)
        torch.testing.assert_close(
            torch.autograd.grad(y.square().sum(), x),
            torch.autograd.grad(expected.square().sum(), x),
        )
    torch.testing.assert_close(layer.running_var, eager.running_var)


def test_a_layer_compiles_for_sizes_that_are_not_known():
    torch.compiler.reset()  # what other tests compiled counts against a limit
    layer = SSN(6)
    compiled = torch.compile(layer, fullgraph=True, dynamic=True, backend='aot_eager')
    for shape in ((4, 6, 5, 5), (3, 6, 7, 4), (4, 6, 1, 1)):
        x = torch.randn(shape)
        layer.eval()
        torch.testing.assert_close(compiled(x), layer(x))
    assert not layer.has_area


@pytest.mark.parametrize('radius', [0.0, 0.4, 0.7])
def test_second_derivatives_are_exact(radius):
    layer = SSN(4).double()
    set_radius(layer, radius)
    with torch.no_grad():
        layer.ratio_logits.add_(torch.randn(2, 3) / 4)

    def function(x, *parameters):
        names = ('weight', 'bias', 'ratio_logits')
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), x)

    x = torch.randn(2, 4, 3, 2, dtype=torch.float64, requires_grad=True)
    inputs = (x, layer.weight, layer.bias, layer.ratio_logits)
    assert torch.autograd.gradgradcheck(function, inputs)


@pytest.mark.parametrize('radius', [-0.1, math.nan, math.inf])
def test_a_radius_that_is_no_distance_is_refused(radius):
    layer = SSN(6)
    with pytest.raises(ValueError, match=f'got {radius}'):
        set_radius(layer, radius)
    assert layer.radius == 0


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(normalizers=('BN', 'XN')), 'XN'),
        (dict(normalizers=('BN',)), 'at least 2'),
        (dict(normalizers=NORMALIZERS, num_groups=4), 'num_groups=4 for 6 channels'),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SSN(6, **arguments)


def test_an_input_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r'\(N, 6, \*spatial\).*got \(2, 5, 3, 3\)'):
        SSN(6)(torch.randn(2, 5, 3, 3))
    with pytest.raises(TypeError, match=r'torch\.int64'):
        SSN(6).eval()(torch.ones(2, 6, 3, 3, dtype=torch.long))


def test_one_hot_from_the_circumscribed_radius_on_for_every_k():
    for k in range(2, len(NORMALIZERS) + 1):
        layer = SSN(6, normalizers=NORMALIZERS[:k], num_groups=3)
        layer.ratio_logits.data.uniform_(0.9, 1.1)
        set_radius(layer, circumscribed_radius(k))
        assert None not in layer.selected
