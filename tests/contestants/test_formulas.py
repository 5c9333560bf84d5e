"""Each norm against its paper's formula in float64, and against the library that has it."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from ssn_mm.contestants import contestants, find_contestant

RANKS = [2, 3]
NAMES = list(contestants())


def maps(rank, dtype=torch.float64):
    return 3 * torch.randn(3, 8, *(5, 4, 3)[-rank:], dtype=dtype) + 2


def layer_of(name, rank=2, dtype=torch.float64, **options):
    """A layer of 8 channels in 4 groups with random parameters."""
    layer = find_contestant(name).build(8, rank, **{'num_groups': 4, **options}).to(dtype)
    for param in layer.parameters():
        nn.init.uniform_(param, 0.3, 1.7)
    return layer


def per_channel(value, rank):
    return value.view(1, -1, *[1] * rank)


def scaled(layer, y, rank):
    return y * per_channel(layer.weight, rank) + per_channel(layer.bias, rank)


def mean_square(x, dims):
    return (x * x).mean(dims, keepdim=True)


def centred(x, dims):
    return x - x.mean(dims, keepdim=True)


def grouped(x, groups=4):
    return x.reshape(len(x), groups, -1)


def frn(layer, x, rank):
    y = x / (mean_square(x, list(range(2, 2 + rank))) + 1e-6).sqrt()
    return torch.max(scaled(layer, y, rank), per_channel(layer.tau, rank))


def evo_norm(layer, x, rank):
    deviation = (mean_square(centred(grouped(x), [2]), [2]) + 1e-5).sqrt()
    deviation = deviation.expand(grouped(x).shape).reshape(x.shape)
    y = x / (1 + (-per_channel(layer.v, rank) * x).exp()) / deviation
    return scaled(layer, y, rank)


def channel_ln(layer, x, rank):
    return scaled(layer, centred(x, [1]) / (mean_square(centred(x, [1]), [1]) + 1e-5).sqrt(), rank)


def rms_norm(layer, x, rank):
    return x / (mean_square(x, [1]) + 1e-5).sqrt() * per_channel(layer.weight, rank)


def dyt(layer, x, rank):
    grown = (2 * layer.alpha * x).exp()
    return scaled(layer, (grown - 1) / (grown + 1), rank)


def group_norm(layer, x, rank):
    own = centred(grouped(x), [2])
    return scaled(layer, (own / (mean_square(own, [2]) + 1e-5).sqrt()).view_as(x), rank)


def frozen_bn(layer, x, rank):
    y = (x - per_channel(layer.running_mean, rank)) / (
        per_channel(layer.running_var, rank) + 1e-5
    ).sqrt()
    return scaled(layer, y, rank)


def batch_norm(layer, x, rank):
    dims = [0, *range(2, 2 + rank)]
    return scaled(
        layer, centred(x, dims) / (mean_square(centred(x, dims), dims) + 1e-5).sqrt(), rank
    )


FORMULAS = {
    'FRN+TLU': frn,
    'EvoNorm-S0': evo_norm,
    'ChannelLN': channel_ln,
    'RMSNorm': rms_norm,
    'DyT': dyt,
    'GN+WS': group_norm,
    'GN': group_norm,
    'FrozenBN': frozen_bn,
    'BN': batch_norm,
    'SyncBN': batch_norm,
}


@pytest.mark.parametrize('rank', RANKS)
@pytest.mark.parametrize('name', FORMULAS)
def test_a_norm_is_its_papers_formula_with_its_gradients(name, rank):
    layer, x = layer_of(name, rank), maps(rank).requires_grad_()
    if name == 'FrozenBN':
        layer.running_mean.normal_()
        layer.running_var.uniform_(0.5, 2)
    dy = torch.randn(x.shape, dtype=x.dtype)
    inputs = [x, *layer.parameters()]
    y, wanted = layer(x), FORMULAS[name](layer, x, rank)
    torch.testing.assert_close(y, wanted, rtol=1e-11, atol=1e-11)
    own = torch.autograd.grad(y, inputs, dy)
    torch.testing.assert_close(own, torch.autograd.grad(wanted, inputs, dy), rtol=1e-9, atol=1e-9)


@pytest.mark.filterwarnings('ignore:SSN trains', 'ignore:Mismatch dtype')
@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('rank', RANKS)
def test_half_precision_is_that_of_float32_to_rounding(name, rank):
    layer, x = layer_of(name, rank, torch.float32), maps(rank, torch.float32)
    try:
        y = layer(x.bfloat16())
    except RuntimeError:  # PyTorch's layers take maps of their parameters' dtype, or autocast
        y = layer.bfloat16()(x.bfloat16())
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), layer.float()(x), rtol=0.05, atol=0.1)


@pytest.mark.parametrize('name', NAMES)
def test_a_layer_starts_as_it_is_stated(name):
    find_contestant(name).check()


def test_renormalization_is_algorithm_1_of_its_paper():
    layer = layer_of('BatchRenorm', steps=(2, 4, 8), momentum=0.25)
    mean, deviation = torch.zeros(8, dtype=torch.float64), (torch.ones(8).double() + 1e-5).sqrt()
    for step in range(10):
        x = (maps(2) * (1 + step)).requires_grad_()
        r_max = 1 + 2 * min(max((step - 2) / 6, 0), 1)
        d_max = 5 * min(max((step - 2) / 2, 0), 1)
        var, of_batch = torch.var_mean(x, (0, 2, 3), correction=0)
        of_batch_deviation = (var + 1e-5).sqrt()
        r = (of_batch_deviation / deviation).detach().clamp(1 / r_max, r_max)
        d = ((of_batch - mean) / deviation).detach().clamp(-d_max, d_max)
        y = (x - per_channel(of_batch, 2)) / per_channel(of_batch_deviation, 2)
        wanted = scaled(layer, y * per_channel(r, 2) + per_channel(d, 2), 2)
        own = layer(x)
        torch.testing.assert_close(own, wanted, rtol=1e-10, atol=1e-10)
        gradients = [torch.autograd.grad(out.square().sum(), x)[0] for out in (own, wanted)]
        torch.testing.assert_close(*gradients, rtol=1e-8, atol=1e-8)
        mean = (mean + 0.25 * (of_batch - mean)).detach()
        deviation = (deviation + 0.25 * (of_batch_deviation - deviation)).detach()
    torch.testing.assert_close(layer.running_mean, mean)
    torch.testing.assert_close((layer.running_var + 1e-5).sqrt(), deviation)
    x, (running, var) = maps(2), (layer.running_mean, layer.running_var)
    wanted = functional.batch_norm(x, running, var, layer.weight, layer.bias)
    torch.testing.assert_close(layer.eval()(x), wanted)


def test_renormalization_is_batch_norm_until_its_first_step():
    layer, plain, x = layer_of('BatchRenorm'), nn.BatchNorm2d(8).double(), maps(2)
    plain.load_state_dict(layer.state_dict())
    torch.testing.assert_close(layer(x), plain(x))


def test_without_an_activation_after_it_a_norm_is_what_timm_has_there():
    timm = pytest.importorskip('timm.layers')
    for name, kind in (('FRN+TLU', timm.FilterResponseNormTlu2d), ('EvoNorm-S0', timm.EvoNorm2dS0)):
        layer = layer_of(name, dtype=torch.float32)
        layer.without_activation()
        theirs = kind(8, apply_act=False, groups=4, eps=layer.eps)
        theirs.load_state_dict(layer.state_dict())
        x = maps(2, torch.float32)
        torch.testing.assert_close(layer(x), theirs(x))


@pytest.mark.parametrize(
    ('name', 'theirs'),
    [
        ('FRN+TLU', lambda timm: timm.FilterResponseNormTlu2d(8, eps=1e-6)),
        ('EvoNorm-S0', lambda timm: timm.EvoNorm2dS0(8, groups=4)),
        ('ChannelLN', lambda timm: timm.LayerNorm2d(8, eps=1e-5)),
        ('RMSNorm', lambda timm: timm.RmsNorm2d(8, eps=1e-5)),
    ],
)
def test_a_norm_is_timms_with_its_gradients(name, theirs):
    timm = pytest.importorskip('timm.layers')
    layer, theirs, x = layer_of(name, dtype=torch.float32), theirs(timm), maps(2, torch.float32)
    theirs.load_state_dict(layer.state_dict())
    results = []
    for own in (layer, theirs):
        mine = x.clone().requires_grad_()
        y = own(mine)
        results.append([y, *torch.autograd.grad(y.square().sum(), [mine, own.weight])])
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-4)


def test_frozen_batch_norm_is_torchvisions_and_stays_in_evaluation():
    torchvision = pytest.importorskip('torchvision.ops')
    layer, theirs = layer_of('FrozenBN'), torchvision.FrozenBatchNorm2d(8).double()
    layer.running_mean.normal_()
    layer.running_var.uniform_(0.5, 2)
    state, x = {k: v.clone() for k, v in layer.state_dict().items()}, maps(2)
    theirs.load_state_dict(state)
    assert not layer.train().training
    torch.testing.assert_close(layer(x), theirs(x))
    torch.testing.assert_close(dict(layer.state_dict()), state)
