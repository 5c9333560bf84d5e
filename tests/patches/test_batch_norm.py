"""What OpenMMLab does for batch norm alone, in its own networks with SSN; docs/openmmlab.md."""

import copy

import mmaction.models
import mmpretrain.models
import mmseg.models
import pytest
import torch
from mmcv.cnn import ConvModule, fuse_conv_bn
from mmengine.model import convert_sync_batchnorm, revert_sync_batchnorm
from mmengine.model.efficient_conv_bn_eval import turn_on_efficient_conv_bn_eval
from mmengine.registry import DefaultScope
from torch import nn

from ssn_mm import SN, SSN, keep_selected
from ssn_mm.deploy import freeze
from ssn_mm.layers import MixedNorm, switch_norms

FRAMES, CLIPS = (4, 3, 32, 32), (2, 3, 4, 32, 32)
SMALL = dict(depth=18, base_channels=8)
NETWORKS = {
    'mmseg': (mmseg.models.ResNet, dict(SMALL, stem_channels=8), FRAMES),
    'mmpretrain': (mmpretrain.models.ResNet, dict(SMALL, stem_channels=8), FRAMES),
    'tsn': (mmaction.models.ResNet, dict(depth=18), FRAMES),
    'tsm': (mmaction.models.ResNetTSM, dict(depth=18, num_segments=4, pretrained2d=False), FRAMES),
    'i3d': (mmaction.models.ResNet3d, dict(SMALL, pretrained=None, pretrained2d=False), CLIPS),
    'x3d': (mmaction.models.X3D, dict(), CLIPS),
    'audio': (mmaction.models.ResNetAudio, dict(depth=50, pretrained=None), (4, 1, 32, 32)),
    'csn': (mmaction.models.ResNet3dCSN, dict(SMALL, depth=50, pretrained=None), CLIPS),
}


def network(name, norm='SSN', **options):
    kind, own, shape = NETWORKS[name]
    norms = {'BN': 'BN3d' if name in ('i3d', 'x3d', 'csn') else 'BN'}
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(kind.__module__.partition('.')[0]):
        model = kind(norm_cfg=dict(type=norms.get(norm, norm)), **own, **options)
    return model, torch.randn(shape)


def layers_of(model):
    return [layer for _, layer in switch_norms(model)]


def statistics(model):
    return {n: b.clone() for n, b in model.named_buffers() if 'running' in n}


@torch.no_grad()
def choose(model, *choices):
    """Layer i chooses normalizers ``choices[i]`` out of IN, LN, BN for mean and variance."""
    for i, layer in enumerate(layers_of(model)):
        layer.ratio_logits.copy_(torch.eye(3)[list(choices[i % len(choices)])])


def learn(model, x, lr=0.1):
    """One step of training; returns the last map."""
    y = model(x)
    y = y[-1] if isinstance(y, tuple) else y
    y.square().mean().backward()
    torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr).step()
    return y


BEHAVIOURS = [
    *((name, dict(norm_eval=True)) for name in NETWORKS),
    # CSN's last maps have two elements a channel, whose batch statistics are all rounding
    *((name, dict(norm_eval=False, frozen_stages=2)) for name in NETWORKS if name != 'csn'),
    ('tsn', dict(partial_bn=True)),
    ('csn', dict(norm_eval=True, bn_frozen=True)),
]


@pytest.mark.parametrize(('name', 'options'), BEHAVIOURS, ids=str)
def test_a_network_of_ssn_that_chose_batch_norm_trains_as_the_one_of_batch_norm(name, options):
    plain, x = network(name, 'BN', **options)
    model, _ = network(name, 'SSN', **options)
    model.load_state_dict(plain.state_dict(), strict=False)
    choose(model, (2, 2))
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


def moved(layer):
    """Moves both rows off their vertex, as a step with momentum may."""
    with torch.no_grad():
        layer.ratio_logits.copy_(torch.tensor([[0.9, 0.1, 0.0], [0.0, 0.2, 0.8]]))


def test_a_row_selected_in_evaluation_mode_is_kept():
    layer = SSN(4).eval()
    choose(layer, (0, 2))
    layer(torch.randn(2, 4, 3, 3)).sum().backward()
    moved(layer)
    keep_selected(layer)
    assert layer.selected == ('IN', 'BN')


def test_a_recomputation_of_statistics_between_step_and_keeping_loses_no_selection():
    layer, x = SSN(4), torch.randn(2, 4, 3, 3)
    choose(layer, (0, 2))
    layer(x).sum().backward()
    moved(layer)
    with torch.no_grad():
        layer(x)  # as PreciseBN does, in training mode
    keep_selected(layer)
    assert layer.selected == ('IN', 'BN')


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
    choose(model, (0, 1), (2, 2))
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


NORMS = {
    'SSN': lambda: SSN(6),
    'SN': lambda: SN(6),
    'MixedNorm': lambda: MixedNorm(6, 'LN', 'BN'),
    'GN': lambda: nn.GroupNorm(2, 6),
    'IN': lambda: nn.InstanceNorm2d(6, affine=True),
}


@torch.no_grad()
def settled(model, x):
    """With statistics that differ from a fresh layer's, in evaluation mode."""
    for _ in range(3):
        model(x)
    model.eval()  # which returns None in most backbones
    return model


@pytest.mark.parametrize('norm', NORMS)
def test_batch_norm_is_never_folded_across_another_norm(norm):
    x = torch.randn(4, 3, 8, 8)
    model = nn.Sequential(nn.Conv2d(3, 6, 3), NORMS[norm](), nn.ReLU(), nn.BatchNorm2d(6))
    model = settled(model, x)
    expected = model(x)
    fused = fuse_conv_bn(model)
    torch.testing.assert_close(fused(x), expected, rtol=1e-4, atol=1e-4)
    assert type(fused[3]) is nn.BatchNorm2d


@pytest.mark.parametrize('name', ['mmseg', 'mmpretrain'])
def test_networks_of_batch_norm_and_frozen_ssn_fold_to_the_same_outputs(name):
    for norm, choices in (('BN', []), ('SSN', [(2, 2)]), ('SSN', [(2, 2), (0, 1), (1, 1)])):
        model, x = network(name, norm)
        if choices:
            choose(model, *choices)
        model = freeze(settled(model, x))
        norms = sum(isinstance(m, nn.BatchNorm2d) for m in model.modules())
        others = sum(isinstance(m, nn.GroupNorm | MixedNorm) for m in model.modules())
        expected = model(x)[-1]
        fused = fuse_conv_bn(model)
        torch.testing.assert_close(fused(x)[-1], expected, rtol=1e-3, atol=1e-3)
        assert norms
        assert bool(others) == (len(choices) > 1)
        assert not any(isinstance(m, nn.BatchNorm2d) for m in fused.modules())


def test_a_network_of_ssn_is_not_folded_before_it_is_frozen():
    model, x = network('mmpretrain')
    choose(model, (2, 2))
    expected = settled(model, x)(x)[-1]
    assert torch.equal(fuse_conv_bn(model)(x)[-1], expected)
    assert len(layers_of(model)) == 20


def folds():
    """Functions of the libraries that fold a norm, each with what is folded into."""
    from mmcv.cnn.bricks import conv_module
    from mmcv.cnn.utils.fuse_conv_bn import _fuse_conv_bn
    from mmengine.model import efficient_conv_bn_eval
    from mmpretrain.models.backbones import levit, replknet, repmlp
    from mmpretrain.models.heads import levit_head

    def by_levit(conv, norm):
        block = levit.LinearBatchNorm(3, 6)
        block.bn = norm
        block.fuse()

    def by_levits_head(conv, norm):
        block = levit_head.BatchNormLinear(6, 2)
        block.bn = norm
        block.fuse()

    image = torch.randn(2, 3, 4, 4)
    return {
        'mmcv': _fuse_conv_bn,
        'mmcv efficient': lambda c, n: conv_module.efficient_conv_bn_eval_forward(n, c, image),
        'mmengine': lambda c, n: efficient_conv_bn_eval.efficient_conv_bn_eval_forward(n, c, image),
        'RepLKNet': replknet.fuse_bn,
        'RepMLP': repmlp.fuse_bn,
        'LeViT': by_levit,
        'its head': by_levits_head,
    }


@pytest.mark.parametrize('norm', ['SSN', 'SN', 'MixedNorm'])
def test_a_network_that_folds_its_own_norms_refuses_ours(norm):
    for name, fold in folds().items():
        conv = nn.Conv2d(3, 6, 1)
        fold(conv, nn.BatchNorm2d(6).eval())
        with pytest.raises(ValueError, match=f'{norm} is folded like batch norm, which it is not'):
            pytest.fail(f'{name}: {fold(nn.Conv2d(3, 6, 1), NORMS[norm]().eval())}')


@pytest.mark.parametrize('norm', NORMS)
def test_levit_drops_no_norm_that_was_not_folded(norm):
    from mmpretrain.models.backbones.levit import ConvolutionBatchNorm

    block, x = ConvolutionBatchNorm(3, 6).eval(), torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(copy.deepcopy(block).fuse()(x), block(x))
    block.bn = NORMS[norm]()
    with pytest.raises(ValueError, match=f'LeViT would drop its {type(block.bn).__name__}'):
        block.fuse()


@pytest.mark.parametrize('kind', ['RepVGG', 'MobileOne'])
def test_a_network_that_merges_its_branches_refuses_ssn(kind):
    arch = dict(RepVGG='A0', MobileOne='s0')[kind]
    model = getattr(mmpretrain.models, kind)(arch, norm_cfg=dict(type='SSN'))
    model.eval()
    with pytest.raises(AssertionError, match='Switch is not allowed when norm_cfg'):
        model.switch_to_deploy()


@pytest.mark.parametrize('norm', ['SSN', 'BN', 'GN'])
def test_riformer_keeps_what_its_norms_have_learned(norm):
    from mmpretrain.models.backbones.riformer import RIFormerBlock

    options = dict(num_groups=1) if norm == 'GN' else {}
    block = RIFormerBlock(6, norm_cfg=dict(type=norm, **options), layer_scale_init_value=1.0)
    choose(block, (0, 2))
    for norm in (block.norm1, block.norm2):
        nn.init.normal_(norm.weight)
    nn.init.normal_(block.token_mixer.affine.weight)
    x = torch.randn(4, 6, 8, 8) * 3 + 1
    block = settled(block, x) or block
    block.eval()
    expected = block(x)
    block.switch_to_deploy()
    torch.testing.assert_close(block(x), expected, rtol=1e-4, atol=1e-4)


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
    choose(model, (2, 2))
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


def test_a_sparse_network_for_masked_pretraining_refuses_ssn():
    with pytest.raises(ValueError, match='SparseResNet normalizes what its mask leaves, which SSN'):
        mmpretrain.models.SparseResNet(18, norm_cfg=dict(type='SSN'))


def test_a_network_that_reads_its_layers_parameters_refuses_ssn_for_pictures():
    model = mmaction.models.OmniResNet(layers=[1, 1, 1, 1])
    pictures = torch.randn(2, 3, 32, 32)
    assert model(pictures).shape == (2, 2048, 1, 1)
    model.layer1[0].bn2 = SSN(64)
    assert model(torch.randn(2, 3, 2, 32, 32)).shape == (2, 2048, 2, 1, 1)
    with pytest.raises(ValueError, match='OmniResNet takes SSN for batch norm'):
        model(pictures)


def test_shufflenets_first_biases_are_those_beside_batch_norm():
    from mmpretrain.models import ShuffleNetV1

    found = []
    for norm in ('BN', 'SSN'):
        model = ShuffleNetV1(norm_cfg=dict(type=norm))
        model.init_weights()
        kinds = (nn.BatchNorm2d, SSN)
        found.append([m.bias.detach() for m in model.modules() if isinstance(m, kinds)])
    assert found[0][0].unique().tolist() == [pytest.approx(1e-4)]
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))
