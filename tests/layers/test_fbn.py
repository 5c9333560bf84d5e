"""FBN, batch norm by running statistics as constants: when they exist, and when they move."""

import copy
import pickle

import pytest
import references
import torch
from backends import ON_CPU
from torch import nn
from torch.utils.checkpoint import checkpoint

from ssn_mm import SN, SSN, keep_selected, set_radius, update_bn
from ssn_mm.deploy import freeze
from ssn_mm.layers import SyncSSN

X = torch.randn(5, 6, 4, 3, generator=torch.Generator().manual_seed(0)) * 2 + 1
ALL = ('IN', 'LN', 'BN', 'GN', 'FBN')


def build(kind=SSN, normalizers=('IN', 'BN', 'FBN'), rows=None, measured=True, **options):
    """A layer with statistics as of an earlier training, and ratios (2, K) where they are given."""
    layer = kind(6, normalizers, num_groups=2, **options)
    if measured:
        layer.running_mean.normal_(), layer.running_var.uniform_(0.5, 2)
    if rows is not None:
        vertices = torch.eye(len(normalizers))[[normalizers.index(name) for name in rows]]
        layer.ratio_logits.data.copy_(vertices)
    return layer


def running(layer):
    return layer.running_mean.clone(), layer.running_var.clone()


def batch(x=X):
    """Mean and unbiased variance of a batch, as running statistics take them."""
    return x.mean((0, 2, 3)), x.var((0, 2, 3))


def moved(before, x=X, momentum=0.1):
    return [old.lerp(new, momentum) for old, new in zip(before, batch(x), strict=True)]


@pytest.mark.parametrize('kernels', ['reference', *ON_CPU])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize('training', [True, False])
def test_fbn_selected_is_torchs_frozen_batch_norm(training, dtype, kernels, monkeypatch):
    monkeypatch.setenv('SSN_MM_BACKEND', kernels)
    layer = build(rows=('FBN', 'FBN')).train(training)
    nn.init.normal_(layer.weight), nn.init.normal_(layer.bias)
    plain = nn.BatchNorm2d(6).eval()
    plain.load_state_dict(layer.state_dict(), strict=False)
    layer, plain = layer.to(dtype), plain.to(dtype)
    x = X.to(dtype).requires_grad_()
    dy = torch.randn_like(x)

    def run(norm):
        y = norm(x)
        return y, *torch.autograd.grad(y, (x, norm.weight, norm.bias), dy)

    before = running(layer)
    tolerance = (
        dict(rtol=2e-2, atol=2e-1) if dtype is torch.bfloat16 else dict(rtol=1e-5, atol=1e-4)
    )
    torch.testing.assert_close(run(layer), run(plain), **tolerance)
    torch.testing.assert_close(running(layer), before, rtol=0, atol=0)


def test_fbn_selected_is_torchvisions_frozen_batch_norm():
    ops = pytest.importorskip('torchvision.ops')
    layer, plain = build(rows=('FBN', 'FBN')), ops.FrozenBatchNorm2d(6)
    plain.load_state_dict(layer.state_dict(), strict=False)
    torch.testing.assert_close(layer(X), plain(X))


@pytest.mark.parametrize('kind', [SSN, SN])
@pytest.mark.parametrize('kernels', ['reference', *ON_CPU])
def test_a_mixture_with_fbn_is_the_definition_in_training(kind, kernels, monkeypatch):
    monkeypatch.setenv('SSN_MM_BACKEND', kernels)
    layer = build(kind, ALL).double()
    nn.init.normal_(layer.ratio_logits)
    constants = running(layer)
    x = X.double().requires_grad_()
    y = layer(x)
    given = (x, layer.ratios(), ALL, layer.weight, layer.bias)
    expected = references.switch_norm(*given, num_groups=2, running=constants)
    torch.testing.assert_close(y, expected)
    leaves = (x, layer.ratio_logits, layer.weight, layer.bias)
    gradients = (torch.autograd.grad(t.pow(3).sum(), leaves) for t in (y, expected))
    torch.testing.assert_close(*gradients)
    torch.testing.assert_close(running(layer), constants, rtol=0, atol=0)


@pytest.mark.parametrize(
    ('rows', 'which'),
    [(('BN', 'IN'), 'mv'), (('BN', 'FBN'), 'm'), (('FBN', 'BN'), 'v'), (('FBN', 'IN'), '')],
)
def test_a_row_that_uses_fbn_keeps_its_statistic_and_bn_updates_the_other(rows, which):
    for knows in (True, False):
        layer = build(rows=rows)
        if not knows:  # one-hot by its radius alone
            layer.ratio_logits.data.add_(0.1)
            set_radius(layer, 1.0)
        before = running(layer)
        layer(X).sum().backward()  # what was updated is not what the backward pass reads
        new = moved(before)
        for name, now, old, other in zip('mv', running(layer), before, new, strict=True):
            torch.testing.assert_close(now, other if name in which else old)
        assert layer.num_batches_tracked == 1


@pytest.mark.parametrize('rows', [None, ('FBN', 'FBN'), ('IN', 'IN'), ('BN', 'FBN')])
@pytest.mark.parametrize('normalizers', [('IN', 'BN', 'FBN'), ('IN', 'FBN')])
def test_with_update_fbn_statistics_move_in_each_step(normalizers, rows):
    if rows is not None and not set(rows) <= set(normalizers):
        rows = None
    layer = build(normalizers=normalizers, rows=rows, update_fbn=True)
    expected = running(layer)
    losses = []
    for step in range(3):
        x = X * (step + 1)
        losses.append(layer(x).pow(2).sum())
        expected = moved(expected, x)
        torch.testing.assert_close(running(layer), tuple(expected))
    sum(losses).backward()  # of all three at once
    layer.eval()(X)
    torch.testing.assert_close(running(layer), tuple(expected))
    assert 'update_fbn=True' in repr(layer)


def test_update_fbn_averages_over_all_batches_without_momentum():
    layer, plain = build(update_fbn=True, momentum=None), nn.BatchNorm2d(6, momentum=None)
    for step in range(3):
        layer(X * step + 1), plain(X * step + 1)
    torch.testing.assert_close(running(layer), running(plain))


STEADY = [{}, dict(update_fbn=True)]


@pytest.mark.parametrize('options', STEADY)
@pytest.mark.parametrize('reentrant', [True, False])
def test_a_step_that_is_computed_again_sees_the_same_statistics(reentrant, options):
    plain = build(**options)
    again = copy.deepcopy(plain)
    x = X.clone().requires_grad_()
    y, y_again = plain(x), checkpoint(again, x, use_reentrant=reentrant)
    assert torch.equal(y, y_again)
    y.pow(2).sum().backward()
    expected, x.grad = x.grad, None
    y_again.pow(2).sum().backward()
    torch.testing.assert_close(x.grad, expected)
    torch.testing.assert_close(running(again), running(plain), rtol=0, atol=0)
    assert again.num_batches_tracked == 1


@pytest.mark.parametrize('kind', [SSN, SN, SyncSSN])
def test_a_training_without_statistics_is_refused_with_the_ways_out(kind):
    layer = build(kind, measured=False)
    assert layer.lacks_statistics()
    for _ in range(2):  # again, as long as there are none
        with pytest.raises(
            ValueError, match=r'\(6\): FBN .* neither measured nor loaded.*update_bn'
        ):
            layer(X)
    assert layer.num_batches_tracked == 0
    assert layer.eval()(X).shape == X.shape  # as torch's
    update = build(kind, measured=False, update_fbn=True)
    update(X)
    assert not update.lacks_statistics()


def test_what_brings_statistics_lets_the_training_begin():
    trained = nn.BatchNorm2d(6)
    trained(X)
    layers = [build(measured=False) for _ in range(4)]
    with pytest.warns(UserWarning, match='no ratio_logits'):
        layers[0].load_state_dict(trained.state_dict())
    layers[1].running_var.mul_(2)
    layers[2].num_batches_tracked.add_(1)
    update_bn([X], nn.Sequential(layers[3]))
    for layer in layers:
        layer(X).sum().backward()
        layer.reset_running_stats()
        with pytest.raises(ValueError, match='neither measured nor loaded'):
            layer(X)


@pytest.mark.parametrize('kind', [SSN, SN])
def test_update_bn_measures_where_there_are_no_statistics_and_fbn_acts_as_bn(kind):
    """Behind it lies a layer that sees what it makes of the batch."""
    names = ('IN', 'LN', 'FBN')
    layer, last = build(kind, names, measured=False), nn.BatchNorm2d(6)
    plain, plain_last = kind(6, ('IN', 'LN', 'BN')), nn.BatchNorm2d(6)
    batches = [X, X * 2 + 1]
    update_bn(batches, nn.Sequential(layer, last))
    update_bn(batches, nn.Sequential(plain, plain_last))
    for ours, theirs in ((layer, plain), (last, plain_last)):
        torch.testing.assert_close(running(ours), running(theirs))
    assert (layer.momentum, layer.measured_rows) == (0.1, (False, False))
    layer(X)


@pytest.mark.parametrize(
    ('rows', 'options', 'which'),
    [
        (('FBN', 'FBN'), {}, ''),
        (('FBN', 'FBN'), dict(update_fbn=True), 'mv'),
        (('BN', 'FBN'), {}, 'm'),
        (('FBN', 'BN'), {}, 'v'),
        (('BN', 'IN'), {}, 'mv'),
        (('IN', 'IN'), {}, ''),
    ],
)
def test_recalibration_keeps_the_constants_that_fbn_uses(rows, options, which):
    recalibration = pytest.importorskip('ssn_mm.engine.recalibration')
    layer = build(rows=rows, **options)
    before, other = running(layer), copy.deepcopy(layer)
    update_bn([X], nn.Sequential(layer))
    names = recalibration.measure_statistics(nn.Sequential(other), [X], nn.Sequential(other))
    assert names == ['0'] * bool(which)
    for measured in (layer, other):
        for name, now, old, new in zip('mv', running(measured), before, batch(), strict=True):
            torch.testing.assert_close(now, new if name in which else old)
    assert other.num_batches_tracked == 0


def test_precise_statistics_are_measured_where_there_are_none():
    recalibration = pytest.importorskip('ssn_mm.engine.recalibration')
    ours = nn.Sequential(build(normalizers=('LN', 'FBN'), measured=False), nn.BatchNorm2d(6))
    plain = nn.Sequential(SSN(6, ('LN', 'BN')), nn.BatchNorm2d(6))
    for model in (ours, plain):
        assert recalibration.measure_statistics(model, [X, X * 2], model) == ['0', '1']
    for one, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(running(one), running(other))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(track_running_stats=False), r"FBN, one of \('IN', 'BN', 'FBN'\), .*=False"),
        (dict(normalizers=('IN', 'BN'), update_fbn=True), r"FBN is not among \('IN', 'BN'\)"),
    ],
)
@pytest.mark.parametrize('kind', [SSN, SN])
def test_options_that_do_not_fit_are_refused(kind, options, message):
    with pytest.raises(ValueError, match=message):
        build(kind, measured=False, **options)


def test_copies_and_pickles_keep_the_option_and_old_ones_have_none():
    layer = build(update_fbn=True)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert other.update_fbn
        torch.testing.assert_close(other(X), copy.deepcopy(layer)(X))
    old = SSN(6)
    for name in ('update_fbn', '_has_fbn', '_has_statistics'):
        old.__dict__.pop(name, None)
    assert not pickle.loads(pickle.dumps(old)).update_fbn


def test_logits_of_another_order_and_kind_load_with_fbn_among_them():
    layer = build(SN, ('FBN', 'IN', 'BN'))
    nn.init.normal_(layer.ratio_logits)
    other = build(SSN, ('IN', 'BN', 'FBN'), measured=False)
    other.load_state_dict(layer.state_dict())
    torch.testing.assert_close(other(X), layer(X))
    with pytest.raises(
        RuntimeError, match='are for the normalizers FBN, IN, BN, and the layer has'
    ):
        build(SSN, ('IN', 'LN', 'BN')).load_state_dict(layer.state_dict())


def test_states_from_before_there_was_fbn_load():
    layer = build(normalizers=('GN', 'IN', 'BN', 'LN'))
    state = layer.state_dict()
    assert state['normalizer_codes'].tolist()[0] == [3, 0, 2, 1]  # as they always were
    other = build(normalizers=('IN', 'LN', 'BN', 'GN'), measured=False)
    other.load_state_dict(state)
    torch.testing.assert_close(other.eval()(X), layer.eval()(X))


@pytest.mark.parametrize('options', STEADY)
def test_a_compiled_layer_with_fbn_is_the_layer(options):
    torch.compiler.reset()
    layer = build(normalizers=ALL, **options)
    set_radius(layer, 0.1)
    compiled = torch.compile(copy.deepcopy(layer), fullgraph=True, backend='aot_eager')
    for _ in range(2):
        torch.testing.assert_close(compiled(X), layer(X))
    torch.testing.assert_close(running(compiled), running(layer))


def test_functional_transforms_take_fbn():
    layer = build(normalizers=('LN', 'FBN'))

    def loss(x, state):
        return torch.func.functional_call(layer, state, (x,)).pow(3).sum()

    state, x = {k: v.detach() for k, v in layer.state_dict().items()}, X.clone().requires_grad_()
    expected = torch.autograd.grad(layer(x).pow(3).sum(), x)[0]
    torch.testing.assert_close(torch.func.grad(loss)(X, state), expected)
    layer.eval()
    torch.testing.assert_close(torch.func.vmap(layer)(X[:, None])[:, 0], layer(X))


def test_an_ssn_learns_to_select_fbn_and_is_frozen_as_batch_norm():
    """The target is what batch norm by the statistics of before makes of two pictures."""
    layer = build(normalizers=ALL)
    plain = nn.BatchNorm2d(6).eval()
    plain.load_state_dict(layer.state_dict(), strict=False)
    optimizer = torch.optim.SGD(layer.parameters(), 0.2, 0.9)
    generator = torch.Generator().manual_seed(0)
    for step in range(60):
        x = torch.randn(2, 6, 4, 4, generator=generator) * 2 + 1
        set_radius(layer, step / 59)
        nn.functional.mse_loss(layer(x), plain(x)).backward()
        optimizer.step(), optimizer.zero_grad()
        keep_selected(layer)
    assert layer.selected == ('FBN', 'FBN')
    torch.testing.assert_close(running(layer), running(plain), rtol=0, atol=0)
    expected = layer.eval()(X).detach()
    frozen = freeze(layer)
    assert type(frozen) is nn.BatchNorm2d
    torch.testing.assert_close(frozen(X), expected)


def test_a_layer_without_statistics_is_not_frozen():
    layer = build(rows=('FBN', 'IN'), measured=False).eval()
    layer(X)
    with pytest.raises(
        ValueError, match=r'selected FBN and IN: FBN .* neither measured nor loaded'
    ):
        freeze(nn.Sequential(layer))
