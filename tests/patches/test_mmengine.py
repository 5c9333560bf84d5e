"""``norm_eval`` and its relatives, conversions and folds of mmengine, in networks of SSN."""

import copy
import weakref

import pytest
import torch
from mmcv.cnn import ConvModule
from mmengine.dataset import BaseDataset
from mmengine.model import convert_sync_batchnorm, revert_sync_batchnorm
from mmengine.model.efficient_conv_bn_eval import turn_on_efficient_conv_bn_eval
from stock_networks import NETWORKS, layers_of, learn, network, select, statistics
from torch import nn

from ssn_mm import SSN

BEHAVIOURS = [
    *((name, dict(norm_eval=True)) for name in NETWORKS),
    # CSN's last maps have two elements a channel, whose batch statistics are all rounding
    *((name, dict(norm_eval=False, frozen_stages=2)) for name in NETWORKS if name != 'csn'),
    ('tsn', dict(partial_bn=True)),
    ('csn', dict(norm_eval=True, bn_frozen=True)),
]


@pytest.mark.parametrize(('name', 'options'), BEHAVIOURS, ids=str)
def test_a_network_of_ssn_that_selected_batch_norm_trains_as_the_one_of_batch_norm(name, options):
    plain, x = network(name, 'BN', **options)
    model, _ = network(name, 'SSN', **options)
    model.load_state_dict(plain.state_dict(), strict=False)
    select(model, (2, 2))
    frozen = statistics(model)
    for net in (plain, model):
        net.eval()
        net.train()
    torch.testing.assert_close(learn(model, x), learn(plain, x), rtol=1e-4, atol=1e-4)
    kept = [name for name, old in frozen.items() if torch.equal(statistics(model)[name], old)]
    assert kept
    assert kept == [n for n, old in frozen.items() if torch.equal(statistics(plain)[n], old)]
    parameters = dict(model.named_parameters())
    for key, param in plain.named_parameters():
        assert parameters[key].requires_grad == param.requires_grad, key
        torch.testing.assert_close(parameters[key], param, rtol=1e-4, atol=1e-4, msg=key)


@pytest.mark.parametrize('name', NETWORKS)
def test_under_norm_eval_running_statistics_stand_still_while_ratios_learn(name):
    for norm in ('SSN', 'SN'):
        model, x = network(name, norm, norm_eval=True)
        model.train()
        before = statistics(model)
        learn(model, x)
        layers = layers_of(model)
        assert not any(layer.training for layer in layers)
        assert all(torch.equal(before[n], b) for n, b in statistics(model).items())
        assert any((layer.ratio_logits != 1).any() for layer in layers)


@pytest.mark.parametrize('name', NETWORKS)
def test_frozen_stages_freeze_ratios_too(name):
    model, x = network(name, frozen_stages=2)
    model.train()
    learn(model, x)
    layers = {n: m for n, m in model.named_modules() if isinstance(m, SSN)}
    frozen = {n for n, m in layers.items() if not m.ratio_logits.requires_grad}
    assert frozen == {n for n in layers if not n.startswith(('layer3', 'layer4', 'conv5'))}
    assert all(layers[n].training == (n not in frozen) for n in layers)
    assert all((layers[n].ratio_logits == 1).all() for n in frozen)


CONVERSIONS = {
    'torch': nn.SyncBatchNorm.convert_sync_batchnorm,
    'mmengine': convert_sync_batchnorm,
}


@pytest.mark.parametrize('convert', CONVERSIONS)
@pytest.mark.parametrize('sync', [False, True])
def test_conversions_to_and_from_sync_batch_norm_leave_ssn_as_it_is(convert, sync):
    model, _ = network('mmpretrain')
    for layer in layers_of(model):
        layer.sync = sync
    select(model, (0, 1), (2, 2))
    layers = layers_of(model)
    whole = nn.Sequential(model, nn.BatchNorm2d(64))
    state = copy.deepcopy(whole.state_dict())
    whole = CONVERSIONS[convert](whole)
    assert type(whole[1]) is nn.SyncBatchNorm
    whole = revert_sync_batchnorm(whole)
    assert type(whole[1]).__name__ == '_BatchNormXd'
    assert [id(m) for m in layers_of(whole)] == [id(m) for m in layers]
    assert all(m.sync == sync and m.training for m in layers)
    assert all(torch.equal(value, state[key]) for key, value in whole.state_dict().items())


def test_a_synchronised_layer_needs_no_revert_to_train_in_one_process():
    layer, x = SSN(4, sync=True), torch.randn(2, 4, 3, 3)
    torch.testing.assert_close(revert_sync_batchnorm(layer)(x), SSN(4)(x))


class Mixed(nn.Module):
    """A network in which SSN stands beside batch norm."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU()),
            *(nn.Conv2d(6, 6, 3), SSN(6), nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6)),
        )

    def forward(self, x):
        return self.body(x)


def test_efficient_conv_bn_eval_changes_batch_norm_only():
    model, x = Mixed(), torch.randn(4, 3, 8, 8)
    select(model, (2, 2))
    plain = copy.deepcopy(model)
    turn_on_efficient_conv_bn_eval(model, 'body')
    calls = [n for n in model.body.forward.__self__.graph.nodes if n.op.startswith('call')]
    assert sum(n.op == 'call_function' for n in calls) == 2  # both batch norms
    assert [n.target for n in calls if n.op == 'call_module'] == ['2', '3', '4']
    for mode in (True, False):
        for net in (model, plain):
            net.train(mode)
        torch.testing.assert_close(learn(model, x), learn(plain, x))
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(model.state_dict()[key], value)
    block = ConvModule(3, 6, 3, norm_cfg=dict(type='SSN'), efficient_conv_bn_eval=True)
    assert block.efficient_conv_bn_eval_forward is None
    torch.testing.assert_close(block.eval()(x), block.bn(block.conv(x)).relu())


def test_a_subset_is_made_of_its_own_dataset_and_kept_by_nobody():
    dataset = BaseDataset(lazy_init=True)
    part = [1, 2]
    dataset.part = part
    earlier = dict.fromkeys([id(part)], 'what lay there before')
    defaults = BaseDataset._copy_without_annotation.__defaults__ or ()
    assert not any(isinstance(default, dict) for default in defaults)
    subset = dataset._copy_without_annotation()
    assert subset.part == part
    assert dataset._copy_without_annotation(earlier).part == 'what lay there before'  # of deepcopy
    kept = weakref.ref(subset)
    del subset
    assert kept() is None
