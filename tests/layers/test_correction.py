"""The unbiased variance of the authors' layers, as an option of SSN and SN."""

import copy

import pytest
import references
import torch
import torch.distributed as dist
from distributed import on_ranks
from torch import nn
from torch.func import functional_call

from ssn_mm import SN, SSN, keep_selected, set_radius
from ssn_mm.deploy import freeze
from ssn_mm.deploy.frozen import load_frozen, save_frozen
from ssn_mm.layers import MixedNorm
from ssn_mm.ops import Logits, Norm, PerChannel, normalize, selected_norm


@pytest.mark.parametrize('shape', [(3, 4, 2, 2), (3, 4, 7, 7), (2, 4, 5), (2, 4, 2, 3, 2)])
def test_every_variance_follows_from_the_unbiased_one_of_the_instances(shape):
    x = torch.randn(shape).double()
    spatial = tuple(range(2, x.dim()))
    mean, var = x.mean(spatial), x.var(spatial)
    square = var + mean**2
    variances = (
        var,
        square.mean(1, keepdim=True) - mean.mean(1, keepdim=True) ** 2,
        square.mean(0, keepdim=True) - mean.mean(0, keepdim=True) ** 2,
    )
    for index, name in enumerate(('IN', 'LN', 'BN')):
        layer = SSN(4, correction=1).double()
        layer.ratio_logits.data.copy_(torch.eye(3)[[index, index]])
        measured = [mean, mean.mean(1, keepdim=True), mean.mean(0, keepdim=True)][index]
        scale = (variances[index] + 1e-5).rsqrt().expand_as(mean)
        to_map = (..., *(None,) * len(spatial))
        expected = (x - measured.expand_as(mean)[to_map]) * scale[to_map]
        torch.testing.assert_close(layer(x), expected, msg=name)


def test_it_stays_in_force_after_the_selection_and_through_a_state():
    x = torch.randn(4, 4, 3, 3)
    layer = SSN(4, correction=1)
    layer.ratio_logits.data.copy_(torch.tensor([[1, 1.2, 1], [1, 1.1, 1]]))
    set_radius(layer, 1)
    before = layer(x)
    keep_selected(layer)
    assert torch.equal(layer(x), before)
    other = SSN(4)
    other.load_state_dict(layer.state_dict())
    assert other.correction == 1
    assert torch.equal(other(x), before)
    assert 'correction' not in SSN(4).state_dict()
    other.load_state_dict(SSN(4).state_dict())  # which was trained without
    assert other.correction == 0
    sn = SN(4)
    sn.load_state_dict(layer.state_dict(), strict=False)
    torch.testing.assert_close(sn(x), before)
    assert 'correction=1' in str(sn)


@pytest.mark.parametrize('kind', [SSN, SN])
def test_functional_call_takes_it_from_the_state(kind):
    corrected, x = kind(4, correction=1).eval(), torch.randn(4, 4, 3, 3)
    state = corrected.state_dict()
    plain = kind(4).eval()
    expected = corrected(x)
    assert not torch.allclose(plain(x), expected)
    assert torch.equal(functional_call(corrected, state, (x,), strict=True), expected)
    assert torch.equal(functional_call(plain, state, (x,)), expected)
    assert (plain.correction, corrected.correction) == (0, 1)
    assert copy.deepcopy(corrected).correction == 1


def test_maps_of_one_element_stay_finite():
    x = torch.randn(4, 4, 1, 1)
    ours, plain = SSN(4, correction=1), SSN(4)
    with pytest.warns(UserWarning, match='IN left out'):
        torch.testing.assert_close(ours(x), plain(x))


def test_anything_else_is_refused():
    with pytest.raises(ValueError, match='correction must be 0 or 1, got 2'):
        SN(4, correction=2)


@pytest.mark.parametrize('mean', range(3))
@pytest.mark.parametrize('var', range(3))
def test_a_frozen_network_computes_the_same(tmp_path, mean, var):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), SSN(4, correction=1)).eval()
    layer = net[1]
    layer.ratio_logits.data.copy_(torch.eye(3)[[mean, var]])
    for tensor in (layer.weight.data, layer.running_mean, layer.running_var):
        tensor.uniform_(0.5, 1)
    x = torch.randn(2, 3, 5, 5)
    with torch.no_grad():
        expected = net(x)
        plain = freeze(copy.deepcopy(net))
        torch.testing.assert_close(plain(x), expected)
        assert isinstance(plain[1], nn.BatchNorm2d if mean == var == 2 else MixedNorm)
        save_frozen(plain, {'1': plain[1]}, tmp_path / 'frozen.pth')
        loaded = load_frozen(net, torch.load(tmp_path / 'frozen.pth', weights_only=True))
        torch.testing.assert_close(loaded(x), expected)


def test_the_reimplementation_of_the_authors_layer_agrees():
    theirs = references.AuthorsNorm(4).double().eval()
    ours = SN(4, correction=1).double().eval()
    state = theirs.state_dict()
    ours.load_state_dict(
        {key: state[key].flatten() for key in ('weight', 'bias', 'running_mean', 'running_var')}
        | {'ratio_logits': torch.stack([theirs.mean_weight, theirs.var_weight]).data}
        | {'correction': torch.tensor(1)},
        strict=False,
    )
    x = torch.randn(2, 4, 3, 3).double()
    torch.testing.assert_close(ours(x), theirs(x))


def trained(kind, x, dy, **options):
    """A step of a layer whose ratios, γ and β are none of the defaults."""
    layer = kind(4, correction=1, **options).to(x.dtype)
    for value, numbers in (
        (layer.ratio_logits, [[1, 1.2, 0.9], [1.1, 1, 1.3]]),
        (layer.weight, [0.5, 1, 1.5, 2]),
        (layer.bias, [1, 0, -1, 2]),
    ):
        value.data.copy_(torch.tensor(numbers))
    set_radius(layer, 0.1)
    x = x.clone().requires_grad_()
    y = layer(x)
    y.backward(dy)
    return layer, y, x.grad


def compare_with_the_joint_batch(rank, kind):
    generator = torch.Generator().manual_seed(0)
    x, dy = torch.randn(2, 5, 4, 3, 3, generator=generator).double()
    mine = (slice(0, 2), slice(2, 5))[rank]  # batches of different size
    layer, y, dx = trained(kind, x[mine], dy[mine], sync=True)
    joint, joint_y, joint_dx = trained(kind, x, dy)
    torch.testing.assert_close((y, dx), (joint_y[mine], joint_dx[mine]))
    for ours, theirs in zip(layer.parameters(), joint.parameters(), strict=True):
        dist.all_reduce(ours.grad)
        torch.testing.assert_close(ours.grad, theirs.grad)
    for ours, theirs in zip(layer.buffers(), joint.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)
    plain = kind(4).double()
    plain.load_state_dict(joint.state_dict())
    plain.correction = 0
    assert (plain(x) - joint(x)).abs().max() > 0.01  # so that the above is of the correction


@pytest.mark.parametrize('kind', [SN, SSN])
def test_two_processes_equal_one_with_the_joint_batch(tmp_path, kind):
    on_ranks(2, tmp_path, compare_with_the_joint_batch, kind)


@pytest.mark.parametrize('kind', [SN, SSN])
def test_under_autocast_it_computes_what_it_does_in_float32_and_rounds_once(kind):
    generator = torch.Generator().manual_seed(0)
    x, dy = (10 + torch.randn(2, 5, 4, 3, 3, generator=generator)).bfloat16()
    wide, wide_y, wide_dx = trained(kind, x.float(), dy.float())
    with torch.autocast('cpu', torch.bfloat16):
        layer = copy.deepcopy(wide)
        layer.zero_grad()
        layer.running_mean.zero_()
        layer.running_var.fill_(1)
        x = x.clone().requires_grad_()
        y = layer(x)
    y.backward(dy)
    assert (y.dtype, x.grad.dtype) == (torch.bfloat16,) * 2
    assert torch.equal(y, wide_y.bfloat16())
    torch.testing.assert_close(x.grad, wide_dx.bfloat16(), atol=1e-4, rtol=1e-2)
    for ours, theirs in zip(layer.parameters(), wide.parameters(), strict=True):
        assert ours.grad.dtype is torch.float32
        torch.testing.assert_close(ours.grad, theirs.grad)
    torch.testing.assert_close(layer.running_var, wide.running_var)
    layer.eval(), wide.eval()
    with torch.autocast('cpu', torch.bfloat16), torch.no_grad():
        assert torch.equal(layer(x), wide(x.float()).bfloat16())


def test_a_state_without_the_layer_leaves_the_option_and_warns_of_nothing(recwarn):
    layer = SN(4, correction=1)
    missing, unexpected = layer.load_state_dict({}, strict=False)
    assert (layer.correction, unexpected) == (1, [])
    assert 'ratio_logits' in missing
    assert 'correction' not in missing
    assert not recwarn


@pytest.mark.parametrize('name', ['IN', 'LN', 'BN'])
def test_a_selection_by_name_keeps_it_where_torch_has_a_layer(name):
    x, norm = torch.randn(3, 4, 5, 5), Norm(('IN', 'LN', 'BN'), correction=1)
    one_hot = torch.eye(3)[[norm.normalizers.index(name)] * 2]
    expected, _ = normalize(x, Logits(one_hot), norm, PerChannel(), training=True)
    found = selected_norm(x, one_hot, name, name, norm, training=True)
    torch.testing.assert_close(found, expected)
    plain = selected_norm(x, one_hot, name, name, norm._replace(correction=0), training=True)
    assert not torch.allclose(found, plain, atol=1e-3)
