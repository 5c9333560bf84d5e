"""A state says which normalizers it is for; loading takes other orders, sets and norms."""

import copy
import importlib.util
import io
import pickle
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils.stateless import functional_call
from torch.optim.swa_utils import AveragedModel

from ssn_mm import SN, SSN, set_radius
from ssn_mm.layers import MixedNorm
from ssn_mm.layers.state import OtherNormWarning

OPENMMLAB = importlib.util.find_spec('mmengine')
if OPENMMLAB:
    from mmengine.model import ExponentialMovingAverage
    from mmengine.runner.checkpoint import load_state_dict

    from ssn_mm.weights.loading import load_weights

ORDERS = (('IN', 'LN', 'BN', 'GN'), ('BN', 'GN', 'IN', 'LN'))


def trained(kind, normalizers=ORDERS[0], **options):
    """A network of one layer, none of whose tensors has its start."""
    generator = torch.Generator().manual_seed(0)
    layer = kind(6, normalizers, num_groups=3, **options)
    with torch.no_grad():
        for value in (layer.weight, layer.bias, layer.running_mean, layer.ratio_logits):
            value.normal_(generator=generator)
    layer.running_var.uniform_(0.5, 2, generator=generator)
    if kind is SSN:
        set_radius(layer, 0.2)
    return nn.Sequential(layer).eval()


def torch_load(model, state):
    model.load_state_dict(state)


def torch_load_not_strict(model, state):
    model.load_state_dict(state, strict=False)


LOADERS = [torch_load, torch_load_not_strict]
LOADERS += [load_state_dict, load_weights] if OPENMMLAB else []


@pytest.mark.parametrize('load', LOADERS)
@pytest.mark.parametrize('target', [SN, SSN])
@pytest.mark.parametrize('source', [SN, SSN])
def test_logits_are_brought_into_the_order_of_the_layer_that_loads_them(source, target, load):
    first, second = trained(source), nn.Sequential(target(6, ORDERS[1], num_groups=3)).eval()
    load(second, first.state_dict())
    x = torch.randn(4, 6, 5, 5)
    torch.testing.assert_close(second(x), first(x))
    codes = second.state_dict()['0.normalizer_codes'].tolist()
    assert codes == [[2, 3, 0, 1], [0, 3, 0, 0], [int(target is SSN)] * 4]


@pytest.mark.parametrize('source', [SN, SSN])
def test_merged_and_filtered_states_are_told_apart_by_what_logits_are_for(source):
    """``own.update(theirs)`` brings a radius of its own, and a filter by name may drop theirs."""
    first, x = trained(source), torch.randn(4, 6, 5, 5)
    for target in (SN, SSN):
        second = nn.Sequential(target(6, ORDERS[0], num_groups=3)).eval()
        if target is SSN:
            set_radius(second, 0.4)
        second.load_state_dict({**second.state_dict(), **first.state_dict()}, strict=False)
        torch.testing.assert_close(second(x), first(x))


def test_logits_of_ssn_without_their_radius_are_kept_or_refused():
    first, x = trained(SSN), torch.randn(4, 6, 5, 5)
    state = {k: v for k, v in first.state_dict().items() if k != '0.radius'}
    second, third = trained(SSN), nn.Sequential(SN(6, ORDERS[0], num_groups=3))
    nn.init.ones_(second[0].ratio_logits)
    second.load_state_dict(state, strict=False)
    torch.testing.assert_close(second(x), first(x))  # with a radius of its own, the same here
    with pytest.raises(RuntimeError, match="SSN's, and the state lacks the radius"):
        third.load_state_dict(state, strict=False)
    with torch.no_grad():
        first[0].ratio_logits.copy_(torch.eye(4)[[1, 2]])  # which are so at every radius
    third.eval().load_state_dict(state)
    torch.testing.assert_close(third(x), first(x))


@pytest.mark.parametrize('load', LOADERS)
@pytest.mark.parametrize('kind', [SN, SSN])
@pytest.mark.parametrize('others', [('IN', 'LN', 'GN'), ('IN', 'LN', 'BN', 'GN'), ('IN', 'BN')])
def test_logits_for_other_normalizers_are_refused_with_both_named(kind, others, load):
    first = trained(kind, ('LN', 'IN', 'BN'))
    second = nn.Sequential(kind(6, others, num_groups=3), kind(6, others, num_groups=3))
    before = copy.deepcopy(second[0].ratio_logits)
    state = first.state_dict() | {f'1{k[1:]}': v for k, v in first.state_dict().items()}
    message = rf'0\.ratio_logits are for the normalizers LN, IN, BN, .* has {", ".join(others)};'
    with pytest.raises(RuntimeError, match=message) as error:
        load(second, state)
    assert str(error.value).count('are for the normalizers') == 1  # not once a layer
    assert torch.equal(second[0].ratio_logits, before)


@pytest.mark.parametrize('kind', [SN, SSN])
def test_other_groups_are_refused_unless_the_ratio_of_gn_is_0(kind):
    first, second = trained(kind), nn.Sequential(kind(6, ORDERS[0], num_groups=2))
    with pytest.raises(RuntimeError, match=r'GN of 3 groups, and the layer has num_groups=2'):
        second.load_state_dict(first.state_dict())
    if kind is SSN:
        with torch.no_grad():
            first[0].ratio_logits.copy_(torch.eye(4)[[0, 2]])
        second.load_state_dict(first.state_dict())
        assert second[0].selected == ('IN', 'BN')


@pytest.mark.parametrize('dtype', [torch.float16, torch.float32])
@pytest.mark.parametrize('load', LOADERS)
def test_a_state_that_was_cast_or_averaged_as_a_whole_loads(load, dtype):
    first, second = trained(SSN), nn.Sequential(SSN(6, ORDERS[1], num_groups=3)).eval()
    state = {key: ((value + value) / 2).to(dtype) for key, value in first.state_dict().items()}
    load(second, state)
    x = torch.randn(4, 6, 5, 5)
    torch.testing.assert_close(second(x), first(x), rtol=1e-2, atol=1e-2)
    assert second.state_dict()['0.normalizer_codes'].dtype == torch.int64


def test_an_average_over_states_of_different_order_is_refused():
    swapped = ('LN', 'IN', 'BN', 'GN')
    first, second = (trained(SSN, order).state_dict() for order in (ORDERS[0], swapped))
    state = {key: (first[key] + second[key]) / 2 for key in first}
    with pytest.raises(RuntimeError, match='averaged of layers whose normalizers differ'):
        trained(SSN).load_state_dict(state)


@pytest.mark.parametrize('kind', [SN, SSN])
def test_a_state_of_before_there_were_codes_is_in_the_order_of_the_layer(kind):
    first, second = trained(kind, ORDERS[1]), nn.Sequential(kind(6, ORDERS[1], num_groups=3))
    state = first.state_dict()
    del state['0.normalizer_codes']
    second.eval().load_state_dict(state)
    x = torch.randn(4, 6, 5, 5)
    assert torch.equal(second(x), first(x))
    assert torch.equal(second[0].normalizer_codes, first[0].normalizer_codes)
    fewer = nn.Sequential(kind(6))
    with pytest.raises(RuntimeError, match=r'are for 4 normalizers, and the layer has IN, LN, BN'):
        fewer.load_state_dict(state)


def test_a_frozen_layer_refuses_the_state_of_another_pair():
    first, second = MixedNorm(6, 'BN', 'LN'), MixedNorm(6, 'BN', 'IN')
    second.load_state_dict(MixedNorm(6, 'BN', 'IN').state_dict())
    with pytest.raises(RuntimeError, match=r'mean BN, var LN, .* has mean BN, var IN'):
        second.load_state_dict(first.state_dict())
    groups = MixedNorm(6, 'BN', 'GN', num_groups=3).state_dict()
    with pytest.raises(RuntimeError, match=r'var GN\(3\), .* has mean BN, var GN\(2\)'):
        MixedNorm(6, 'BN', 'GN', num_groups=2).load_state_dict(groups)
    old = {k: v for k, v in first.state_dict().items() if k != 'selected_codes'}
    second.load_state_dict(old)


@pytest.mark.parametrize('kind', [SN, SSN])
def test_the_state_of_batch_norm_loads_strictly_with_one_warning(kind):
    plain = nn.Sequential(*(nn.BatchNorm2d(6) for _ in range(3)))
    for norm in plain:
        nn.init.normal_(norm.weight)
        norm.running_var.uniform_(0.5, 2)
    ours = nn.Sequential(*(kind(6) for _ in range(3)))
    with torch.no_grad():
        ours[1].ratio_logits[0, 2] = 3
    for _ in range(2):  # each call tells
        with pytest.warns(OtherNormWarning, match=r'no ratio_logits for 0, .*keep') as caught:
            assert not any(ours.load_state_dict(plain.state_dict()))
        assert len(caught) == 1
    assert torch.equal(ours[2].running_var, plain[2].running_var)
    assert torch.equal(ours[2].weight, plain[2].weight)
    assert (ours[0].ratio_logits == 1).all()
    assert ours[1].ratio_logits[0, 2] == 3


def test_a_state_that_lacks_a_layer_is_still_an_error():
    with pytest.raises(RuntimeError, match=r'Missing key.*1\.ratio_logits.*1\.radius'):
        nn.Sequential(SSN(6), SSN(6)).load_state_dict(nn.Sequential(SSN(6)).state_dict())
    with pytest.raises(RuntimeError, match='running_mean'):
        SSN(6).load_state_dict({'weight': torch.ones(6), 'bias': torch.zeros(6)})


@pytest.mark.parametrize('key', ['ratio_logits', 'radius'])
def test_a_state_that_lacks_a_part_of_its_ratios_is_an_error(key):
    state = {k: v for k, v in SSN(6).state_dict().items() if k != key}
    with pytest.raises(RuntimeError, match=f'Missing key.*"{key}"'):
        SSN(6).load_state_dict(state)
    assert SSN(6).load_state_dict(state, strict=False).missing_keys == [key]


def test_a_layer_on_meta_takes_what_is_assigned_and_starts_where_nothing_is():
    with torch.device('meta'):
        ours, fresh = SSN(6), SSN(6)
    old = {k: v for k, v in SSN(6).state_dict().items() if k != 'normalizer_codes'}
    ours.load_state_dict(old, assign=True)
    with pytest.warns(OtherNormWarning):
        fresh.load_state_dict(nn.BatchNorm2d(6).state_dict(), assign=True)
    for layer in (ours, fresh):
        for key, value in SSN(6).state_dict().items():
            assert torch.equal(layer.state_dict()[key], value), key


@pytest.mark.parametrize('kind', [SN, SSN])
def test_functional_calls_take_a_state_as_it_is(kind):
    first, second = trained(kind), trained(kind, momentum=None)
    nn.init.ones_(second[0].ratio_logits)
    x = torch.randn(4, 6, 5, 5)
    for state in (
        first.state_dict(),
        {**dict(first.named_parameters()), **dict(first.named_buffers())},
    ):
        assert torch.equal(torch.func.functional_call(second, state, x), first(x))
        assert torch.equal(functional_call(second, state, x), first(x))
    assert (second[0].ratio_logits == 1).all()


def test_averages_copies_and_pickles_keep_the_codes():
    model = trained(SSN)
    codes = model[0].normalizer_codes
    averages = [AveragedModel(model), AveragedModel(model, use_buffers=True)]
    if OPENMMLAB:
        averages += [ExponentialMovingAverage(model, 0.3, update_buffers=b) for b in (False, True)]
    for average in averages:
        for _ in range(3):
            average.update_parameters(model)
    models = [average.module for average in averages]
    models += [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    models.append(torch.load(file, weights_only=False))
    x = torch.randn(4, 6, 5, 5)
    for other in models:
        assert torch.equal(other[0].normalizer_codes, codes)
        torch.testing.assert_close(other.eval()(x), model(x))
        again = trained(SSN, ORDERS[1])
        again.load_state_dict(other.state_dict())
        torch.testing.assert_close(again(x), model(x))


def test_a_module_that_was_pickled_before_there_were_codes_has_them():
    model = trained(SSN)
    layer = copy.deepcopy(model[0])
    del layer._buffers['normalizer_codes'], layer.__dict__['track_running_stats']
    del layer.__dict__['selection']
    old = pickle.loads(pickle.dumps(layer))
    x = torch.randn(4, 6, 5, 5)
    assert torch.equal(old(x), model(x))
    model[0].load_state_dict(old.state_dict())
    assert 'track_running_stats' not in repr(old)


@pytest.mark.skipif(not OPENMMLAB, reason='needs mmengine')
def test_loading_weights_says_nothing_twice():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        report = load_weights(nn.Sequential(SSN(6)), nn.Sequential(nn.BatchNorm2d(6)).state_dict())
    assert report.initial == ['0.ratio_logits', '0.radius']
