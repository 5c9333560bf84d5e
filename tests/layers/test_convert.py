import re

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

import ssn_mm
from ssn_mm import SN, SSN, SyncSSN, convert_norms, plan_conversion
from ssn_mm.layers import switch_norms

X = torch.randn(4, 8, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
OMEGA = ('IN', 'LN', 'BN')


class FrozenBatchNorm2d(nn.Module):
    """As detectors have it: γ, β and statistics are buffers."""

    def __init__(self, num_features, eps=1e-5):
        super().__init__()
        self.eps = eps
        for name in ('weight', 'bias', 'running_mean', 'running_var'):
            self.register_buffer(name, torch.rand(num_features) + 0.5)

    def forward(self, x):
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale[:, None, None] + shift[:, None, None]


class LayerNorm2d(nn.LayerNorm):
    """As ConvNeXt has it: each pixel's channels are measured."""

    def forward(self, x):
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class BatchNormAct2d(nn.BatchNorm2d):
    """As timm has it: dropout and activation are the norm's own."""

    __module__ = 'timm.layers.norm_act'

    def __init__(self, num_features):
        super().__init__(num_features)
        self.drop, self.act = nn.Identity(), nn.SiLU(inplace=True)

    def forward(self, x):
        return self.act(self.drop(super().forward(x)))


NORMS = {
    'BatchNorm2d': lambda: nn.BatchNorm2d(8, eps=1e-3, momentum=0.02),
    'BatchNorm2d without γ': lambda: nn.BatchNorm2d(8, affine=False),
    'BatchNorm2d, mean of all': lambda: nn.BatchNorm2d(8, momentum=None),
    'SyncBatchNorm': lambda: nn.SyncBatchNorm(8),
    'BatchNormAct2d': lambda: BatchNormAct2d(8),
    'FrozenBatchNorm2d': lambda: FrozenBatchNorm2d(8),
    'GroupNorm(4)': lambda: nn.GroupNorm(4, 8),
    'GroupNorm(1)': lambda: nn.GroupNorm(1, 8),
    'GroupNorm(C)': lambda: nn.GroupNorm(8, 8),
    'InstanceNorm2d': lambda: nn.InstanceNorm2d(8),
    'InstanceNorm2d with γ': lambda: nn.InstanceNorm2d(8, affine=True),
}
UNEQUAL = {
    'LayerNorm2d': lambda: LayerNorm2d(8),
    'tracked InstanceNorm2d': lambda: nn.InstanceNorm2d(8, track_running_stats=True),
    'untracked BatchNorm2d': lambda: nn.BatchNorm2d(8, track_running_stats=False),
}


@torch.no_grad()
def network(make):
    """A norm between two convolutions, with numbers as a trained network has them."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(8, 8, 3), make(), nn.Conv2d(8, 4, 1)).double()
    for name, t in [*model[1].named_parameters(), *model[1].named_buffers()]:
        if t.is_floating_point():
            t.uniform_(0.6, 1.4)
        elif name == 'num_batches_tracked':
            t.fill_(7)
    return model.eval()


@pytest.mark.parametrize('to', ['SSN', 'SyncSSN', 'SN'])
@pytest.mark.parametrize('norm', NORMS)
def test_a_converted_network_gives_the_outputs_that_it_gave(norm, to):
    model = network(NORMS[norm])
    expected = model(X)
    own = convert_norms(model, to)
    assert own is model
    assert isinstance(dict(switch_norms(model)).popitem()[1], {'SN': SN}.get(to, SSN))
    torch.testing.assert_close(model(X), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize('norm', sorted(NORMS.keys() - {'SyncBatchNorm', 'FrozenBatchNorm2d'}))
def test_a_step_of_training_is_that_of_the_norm_that_was_there(norm):
    plain = network(NORMS[norm]).train()
    model = convert_norms(plain, copy_model=True)
    for net in (plain, model):
        optimizer = torch.optim.SGD(net.parameters(), 0.1)
        ssn_mm.set_radius(net, 0.0)
        net(X).square().mean().backward()
        optimizer.step()
        ssn_mm.keep_selected(net)
    torch.testing.assert_close(model(X), plain(X), rtol=0, atol=1e-10)
    torch.testing.assert_close(model.eval()(X), plain.eval()(X), rtol=0, atol=1e-10)


def test_the_new_layer_keeps_tensors_options_mode_and_hooks():
    model = network(NORMS['BatchNorm2d'])
    norm, seen = model[1].train(), []
    norm.bias.requires_grad_(False)
    norm.register_forward_hook(lambda *_: seen.append(1))
    layer = convert_norms(model)[1]
    for name in ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked'):
        assert getattr(layer, name) is getattr(norm, name)
    assert (float(layer.eps), layer.momentum, layer.training) == (1e-3, 0.02, True)
    assert not layer.bias.requires_grad
    assert layer.ratio_logits.dtype is torch.float64
    model(X)
    assert seen == [1]


def test_constants_of_a_frozen_norm_stay_constants():
    layer = convert_norms(network(NORMS['FrozenBatchNorm2d']))[1]
    assert layer.normalizers[-1] == 'FBN'
    assert layer.selected == ('FBN', 'FBN')
    assert not layer.weight.requires_grad
    assert not layer.bias.requires_grad


def test_groups_are_added_where_they_are_needed():
    model = nn.Sequential(nn.GroupNorm(4, 8), nn.BatchNorm2d(8))
    first, second = convert_norms(model, normalizers=OMEGA)
    assert (first.normalizers, first.num_groups) == ((*OMEGA, 'GN'), 4)
    assert second.normalizers == OMEGA


def test_a_copy_leaves_the_network_as_it_is():
    model = network(NORMS['BatchNorm2d'])
    other = convert_norms(model, copy_model=True)
    assert type(model[1]) is nn.BatchNorm2d
    assert other[1].weight is not model[1].weight


def test_fbn_is_offered_where_statistics_were_measured():
    assert convert_norms(nn.BatchNorm2d(4)).normalizers == OMEGA
    norm = nn.BatchNorm2d(4)
    norm(torch.randn(2, 4, 3, 3))
    assert convert_norms(norm).normalizers == (*OMEGA, 'FBN')


@pytest.mark.parametrize(
    ('start', 'ratios'),
    [
        ('even', [1 / 3] * 3),
        (0.8, [0.1, 0.1, 0.8]),
        ({'IN': 0.5}, [0.5, 0.25, 0.25]),
        ({'IN': 0.2, 'LN': 0.3, 'BN': 0.5}, [0.2, 0.3, 0.5]),
    ],
)
@pytest.mark.parametrize('to', ['SSN', 'SN'])
def test_ratios_start_as_asked(start, ratios, to):
    layer = convert_norms(nn.BatchNorm2d(4), to, start=start)
    torch.testing.assert_close(layer.ratios(), torch.tensor([ratios] * 2), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    'start', [0, 1, 1.5, -0.1, 'half', {}, {'IN': 0.7, 'BN': 0.7}, {'IN': -0.1}, {'XN': 0.5}]
)
def test_a_start_out_of_range_is_refused(start):
    with pytest.raises(ValueError, match=re.escape(str(start)) if start != {'XN': 0.5} else 'XN'):
        convert_norms(nn.BatchNorm2d(4), start=start)


@pytest.mark.parametrize('norm', UNEQUAL)
def test_a_norm_that_no_normalizer_equals_is_refused_left_or_started_even(norm):
    model = network(UNEQUAL[norm])
    kind = type(model[1])
    with pytest.raises(ValueError, match=rf'1 \({kind.__name__}\): no normalizer equals it'):
        convert_norms(model)
    model.append(nn.BatchNorm2d(4).double())
    left = convert_norms(model, copy_model=True, unequal='leave')
    assert type(left[1]) is kind
    assert isinstance(left[3], SSN)
    even = convert_norms(model, unequal='even', normalizers=OMEGA)
    assert even[1].ratios().tolist() == [[pytest.approx(1 / 3)] * 3] * 2
    assert even[3].selected == ('BN', 'BN')


def shared():
    norm = nn.BatchNorm2d(8)
    return nn.Sequential(nn.Conv2d(8, 8, 1), norm, nn.Conv2d(8, 8, 1), norm)


def test_a_norm_in_two_places_stays_one_layer_and_tied_weights_stay_tied():
    model = shared()
    model.append(nn.BatchNorm2d(8))
    model[4].weight = model[1].weight
    assert 'and 1 more' in str(plan_conversion(model))
    convert_norms(model)
    assert model[1] is model[3]
    assert model[4] is not model[1]
    assert model[4].weight is model[1].weight
    assert convert_norms(shared(), include='3')[1].selected == ('BN', 'BN')


@pytest.mark.parametrize(
    ('options', 'converted'),
    [
        (dict(include='stem.*'), ['stem.0']),
        (dict(include=['stem.0', 'head']), ['stem.0', 'head']),
        (dict(exclude='head'), ['stem.0', 'body.0']),
        (dict(include=lambda name, norm: norm.num_features == 6), ['body.0']),
        (dict(include='*', exclude=['stem.*', 'body.*']), ['head']),
    ],
)
def test_norms_are_named_by_patterns_or_a_function(options, converted):
    model = nn.ModuleDict(
        dict(
            stem=nn.Sequential(nn.BatchNorm2d(4)),
            body=nn.Sequential(nn.BatchNorm2d(6)),
            head=nn.BatchNorm2d(4),
        )
    )
    convert_norms(model, **options)
    assert [name for name, _ in switch_norms(model)] == converted


@pytest.mark.parametrize('what', ['include', 'exclude'])
def test_a_pattern_that_matches_nothing_is_refused(what):
    with pytest.raises(ValueError, match=rf"{what}='bn\*' matches none of the 1 norms"):
        convert_norms(nn.Sequential(nn.BatchNorm2d(4)), **{what: ['0', 'bn*']})


def test_a_network_without_norms_is_refused():
    with pytest.raises(ValueError, match='Sequential has no normalization layer; it has 1 Conv2d'):
        convert_norms(nn.Sequential(nn.Conv2d(1, 1, 1), nn.LocalResponseNorm(2)))


def test_a_converted_network_is_not_converted_again_but_its_rest_is():
    model = nn.Sequential(nn.BatchNorm2d(4), nn.BatchNorm2d(4))
    first = convert_norms(model, include='0')[0]
    assert convert_norms(model)[0] is first
    with pytest.raises(ValueError, match='2 norms is converted to SSN: it is SSN already'):
        convert_norms(model)
    with pytest.raises(ValueError, match='its ratios are for IN, LN, BN'):
        convert_norms(model, normalizers=('IN', 'BN'))


def test_refusals_leave_the_network_as_it_was():
    model = nn.Sequential(nn.BatchNorm2d(4), LayerNorm2d(4), nn.GroupNorm(1, 5), LayerNorm2d(4))
    before = list(model)
    with pytest.raises(ValueError, match='2 of 4 norms cannot become SSN') as error:
        convert_norms(model)
    assert '1, 3 (LayerNorm2d): no normalizer equals it' in str(error.value)
    assert list(model) == before
    with pytest.raises(ValueError, match=r'2 \(GroupNorm\): GN needs groups that divide'):
        convert_norms(model, normalizers=(*OMEGA, 'GN'), num_groups=2, exclude=['1', '3'])
    assert list(model) == before


def test_fbn_without_statistics_is_refused_unless_a_checkpoint_brings_them():
    with pytest.raises(ValueError, match=r'the network \(BatchNorm2d\): FBN needs running statist'):
        convert_norms(nn.BatchNorm2d(4), normalizers=('BN', 'FBN'))
    layer = convert_norms(nn.BatchNorm2d(4), normalizers=('BN', 'FBN'), unmeasured=True)
    assert layer.selected == ('BN', 'BN')


def test_unknown_norms_options_and_normalizers_are_refused():
    norm = nn.BatchNorm2d(4)
    with pytest.raises(ValueError, match=r"to='SNN' is no norm.*did you mean 'SN'\?"):
        convert_norms(norm, 'SNN')
    with pytest.raises(TypeError, match='knows no epsilon'):
        convert_norms(norm, epsilon=1)
    with pytest.raises(ValueError, match='unknown normalizers'):
        convert_norms(norm, normalizers=('BN', 'XN'))
    with pytest.raises(ValueError, match='are for SSN and SN; GN has no ratios'):
        convert_norms(norm, 'GN', normalizers=OMEGA)
    with pytest.raises(ValueError, match=r"unequal must be one of .* got 'skip'"):
        convert_norms(norm, unequal='skip')


def test_parts_that_cannot_be_read_are_refused_by_name():
    class Odd(nn.BatchNorm2d):
        def forward(self, x):
            return 2 * super().forward(x)

    pruned = nn.BatchNorm2d(4)
    prune.l1_unstructured(pruned, 'weight', 0.5)
    refused = {
        'a forward pass of its own': Odd(4),
        'it is lazy': nn.LazyBatchNorm2d(),
        'parametrized': parametrizations.weight_norm(nn.BatchNorm2d(4), dim=None),
        'is computed': pruned,
        'it is scripted': torch.jit.script(nn.BatchNorm2d(4)),
        'it is quantized': torch.ao.nn.intrinsic.BNReLU2d(nn.BatchNorm2d(4), nn.ReLU()),
    }
    for reason, module in refused.items():
        model = nn.Sequential(nn.Conv2d(4, 4, 1), module)
        with pytest.raises(ValueError, match=rf'1 \(\w+\): .*{reason}'):
            convert_norms(model)
        assert model[1] is module


def test_a_wrapped_network_is_refused(tmp_path):
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1
    )
    try:
        wrapped = nn.parallel.DistributedDataParallel(nn.BatchNorm2d(4))
        with pytest.raises(ValueError, match='the network is a DistributedDataParallel'):
            convert_norms(wrapped)
    finally:
        torch.distributed.destroy_process_group()


def test_the_table_says_what_becomes_of_every_norm(capsys):
    model = nn.Sequential(BatchNormAct2d(4), LayerNorm2d(4), nn.GroupNorm(2, 4))
    convert_norms(model, unequal='leave', exclude='2', verbose=True)
    head, first, second, third = capsys.readouterr().out.splitlines()
    assert head.split('  ')[0] == 'layer'
    assert re.search(r'^0 +BatchNormAct2d +SSN\(IN 0, LN 0, BN 1\) \+ SiLU +γ, β, run', first)
    assert re.search(r'^1 +LayerNorm2d +left +no normalizer equals it: it measures the ch', second)
    assert re.search(r'^2 +GroupNorm +left +not asked for', third)


def test_layers_that_selected_batch_norm_become_it_again():
    plain = network(NORMS['BatchNorm2d'])
    model = convert_norms(plain, copy_model=True)
    again = convert_norms(model, 'BN')
    assert type(again[1]) is nn.BatchNorm2d
    torch.testing.assert_close(again(X), plain(X), rtol=0, atol=0)
    assert type(convert_norms(convert_norms(nn.GroupNorm(1, 4)), 'LN')) is nn.GroupNorm
    with pytest.raises(ValueError, match=r'it selected BN and BN; ssn_mm\.deploy\.freeze'):
        convert_norms(convert_norms(nn.BatchNorm2d(4)), 'LN')
    with pytest.raises(ValueError, match='it has not selected'):
        convert_norms(convert_norms(nn.BatchNorm2d(4), start='even'), 'BN')


def test_other_norms_take_the_place_of_batch_norm():
    model = network(NORMS['BatchNorm2d'])
    weight = model[1].weight
    for to, kind in dict(GN=nn.GroupNorm, LN=nn.GroupNorm, IN=nn.InstanceNorm2d).items():
        other = convert_norms(model, to, num_groups=2, copy_model=True)
        assert type(other[1]) is kind
        assert other[1].weight.equal(weight)
        assert other(X).dtype is torch.float64
    assert type(convert_norms(model, 'SyncBN', copy_model=True)[1]) is nn.SyncBatchNorm
    back = convert_norms(network(NORMS['GroupNorm(4)']), 'BN')
    assert type(back[1]) is nn.BatchNorm2d  # as the convolutions say
    own = convert_norms(model, lambda channels: nn.Softmax2d())
    assert type(own[1]) is nn.Softmax2d


@pytest.mark.parametrize('to', ['SN', 'SyncSSN'])
def test_an_ssn_becomes_another_kind_with_its_ratios(to):
    layer = convert_norms(nn.BatchNorm2d(4), start=0.7)
    other = convert_norms(layer, to)
    assert type(other) is {'SN': SN, 'SyncSSN': SyncSSN}[to]
    torch.testing.assert_close(other.ratios(), layer.ratios(), atol=1e-6, rtol=0)
