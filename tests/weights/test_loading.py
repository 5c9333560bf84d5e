"""Every plausible starting checkpoint, given to every network, and what is said of it."""

import copy
from uuid import uuid4

import pytest
import torch
import torchvision
from mmcv.ops import sync_bn
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.runner import Runner, load_checkpoint
from torch import nn
from torch.nn.functional import cross_entropy, one_hot

from ssn_mm import SN, SSN, set_radius
from ssn_mm.deploy import freeze
from ssn_mm.layers import SwitchNorm
from ssn_mm.ops import NORMALIZERS
from ssn_mm.weights.loading import load_weights

PAIRS = [*zip(NORMALIZERS, NORMALIZERS, strict=True), ('IN', 'BN'), ('GN', 'LN')]
SMALL = dict(depth=18, base_channels=8)
LIBRARIES = {
    'mmpretrain': dict(type='mmpretrain.ResNet', stem_channels=8, **SMALL),
    'mmseg': dict(type='mmseg.ResNet', stem_channels=8, **SMALL),
    'mmaction': dict(
        type='mmaction.ResNet3d', pretrained=None, zero_init_residual=False, inflate=0, **SMALL
    ),
}


def resnet(norm, library='mmpretrain', **options):
    __import__(f'{library}.models')
    return MODELS.build(dict(**LIBRARIES[library], norm_cfg=norm, **options))


def state_of(norm):
    """The state of a network whose parameters and statistics all differ from their start."""
    net = resnet(norm)
    generator = torch.Generator().manual_seed(1)
    for name, value in (*net.named_parameters(), *net.named_buffers()):
        kind = name.rpartition('.')[2]
        if 'conv' in name or 'downsample.0' in name:
            value.data.normal_(0, 0.1, generator=generator)
        elif kind in ('weight', 'running_var'):
            value.data.uniform_(0.5, 1, generator=generator)
        elif kind in ('bias', 'running_mean', 'ratio_logits'):
            value.data.normal_(0, 0.5, generator=generator)
    for layer in net.modules():
        if isinstance(layer, SSN):
            layer.ratio_logits.data.copy_(one_hot(layer.ratio_logits.argmax(-1), 3))
            layer.radius.fill_(1)
    return net.state_dict()


def classifier(state, prefix=''):
    head = 'head.fc' if prefix else 'fc'
    named = {prefix + key: value for key, value in state.items()}
    return named | {f'{head}.weight': torch.zeros(1000, 64), f'{head}.bias': torch.zeros(1000)}


def authors(state):
    """A state under the authors' names, in their shapes."""
    found = {}
    for key, value in classifier(state).items():
        layer, _, kind = key.rpartition('.')
        is_norm = f'{layer}.ratio_logits' in state
        layer = f'module.{layer.replace("bn", "sn")}'
        if kind == 'ratio_logits':
            found |= {f'{layer}.mean_weight': value[0], f'{layer}.var_weight': value[1]}
            if f'{key.rpartition(".")[0]}.radius' in state:
                found |= {f'{layer}.{row}_fixed': torch.tensor([1]) for row in ('mean', 'var')}
        elif is_norm and kind in ('weight', 'bias'):
            found[f'{layer}.{kind}'] = value.view(1, -1, 1, 1)
        elif is_norm and kind != 'num_batches_tracked':
            found[f'{layer}.{kind}'] = value.view(1, -1, 1) if value.dim() else value.view(1)
        elif not is_norm:
            found[f'{layer}.{kind}'] = value
    return found


@pytest.fixture(scope='module')
def sources():
    bn, sn, ssn = (state_of(dict(type=name)) for name in ('BN', 'SN', 'SSN'))
    return {
        'torchvision BN': classifier(bn),
        'OpenMMLab BN': classifier(bn, 'backbone.'),
        'GN': classifier(state_of(dict(type='GN', num_groups=4))),
        'SN': classifier(sn, 'backbone.'),
        'SSN': classifier(ssn, 'backbone.'),
        'authors SN': authors(sn),
        'authors SSN': authors(ssn),
    }


class Net(BaseModel):
    def __init__(self, norm, library, **pretrained):
        super().__init__()
        pretrained = dict(type='Pretrained', **pretrained)
        self.backbone = resnet(norm, library, out_indices=(3,), init_cfg=pretrained)
        self.fc = nn.Linear(64, 2)

    def forward(self, inputs, labels, mode='tensor'):
        if isinstance(self.backbone.conv1, nn.Module) and hasattr(self.backbone.conv1, 'bn'):
            inputs = torch.stack([inputs.roll(9 * t, -1) for t in range(4)], 2)
        maps = self.backbone(inputs)
        maps = maps[-1] if isinstance(maps, tuple) else maps
        return dict(loss=cross_entropy(self.fc(maps.flatten(2).mean(2)), labels))


def first_norm(net):
    return next(m for m in net.modules() if isinstance(m, SwitchNorm))


def train_two_iterations(net, folder, hooks=(), **options):
    data = [(torch.randn(3, 64, 64), index % 2) for index in range(8)]
    runner = Runner(
        model=net,
        work_dir=str(folder),
        train_dataloader=dict(
            dataset=data,
            sampler=dict(type='DefaultSampler', shuffle=False),
            batch_size=4,
            collate_fn=dict(type='default_collate'),
        ),
        train_cfg=dict(by_epoch=False, max_iters=2),
        optim_wrapper=dict(
            constructor='SSNOptimWrapperConstructor', optimizer=dict(type='SGD', lr=0.01)
        ),
        custom_hooks=[dict(type='SSNRadiusHook'), *hooks],
        cfg=Config(dict()),
        experiment_name=f'{folder.name}-{uuid4()}',
        log_level='WARNING',
        **options,
    )
    runner.train()
    return runner


@pytest.mark.parametrize('library', LIBRARIES)
@pytest.mark.parametrize(
    'source',
    ['torchvision BN', 'OpenMMLab BN', 'GN', 'SN', 'SSN', 'authors SN', 'authors SSN'],
)
def test_a_training_starts_from_every_source(tmp_path, sources, source, library):
    torch.save({'state_dict': sources[source]}, tmp_path / 'source.pth')
    kernel = next(v for k, v in sources[source].items() if k.endswith('conv1.weight'))
    for norm in ('SSN', 'SN'):
        net = Net(dict(type=norm), library, checkpoint=str(tmp_path / 'source.pth'))
        net.init_weights()
        first = net.backbone.conv1
        weight = (first.conv if hasattr(first, 'conv') else first).weight
        torch.testing.assert_close(weight.sum(2) if weight.dim() == 5 else weight, kernel)
        layer = first_norm(net)
        assert not torch.equal(layer.weight, torch.ones(8))
        assert (layer.running_var == 1).all() == (source == 'GN')
        ratios = layer.ratios()
        if source.endswith(('BN', 'GN')):
            torch.testing.assert_close(ratios, torch.full((2, 3), 1 / 3))
        else:
            logits = sources[f'{source.split()[-1]}']['backbone.bn1.ratio_logits']
            expected = logits if source.endswith('SSN') else logits.softmax(-1)
            torch.testing.assert_close(ratios, expected, rtol=1e-5, atol=1e-6)
        assert layer.correction == source.startswith('authors')
        if norm == 'SSN':
            train_two_iterations(net, tmp_path)
        assert all(torch.isfinite(p).all() for p in net.parameters())


def test_the_first_forward_of_ssn_equals_sns_while_the_radius_allows(sources):
    x = torch.randn(4, 3, 32, 32)
    sn, ssn = resnet(dict(type='SN')), resnet(dict(type='SSN'))
    load_weights(sn, sources['SN'])
    load_weights(ssn, sources['SN'])
    centre = torch.full((3,), 1 / 3)
    layers = [m for m in sn.modules() if isinstance(m, SN)]
    allowed = min((m.ratios() - centre).norm(dim=-1).min().item() for m in layers)
    for radius, same in ((0.0, True), (0.99 * allowed, True), (0.7, False)):
        set_radius(ssn, radius)
        for mode in (True, False):
            for net in (ssn, sn):
                net.train(mode)
            ours, theirs = ssn(x)[-1], sn(x)[-1]
            assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-5) == same
    back = resnet(dict(type='SN'))
    set_radius(ssn, 0)
    load_weights(back, ssn.state_dict())
    for net in (back, ssn):
        net.eval()
    torch.testing.assert_close(back(x)[-1], ssn(x)[-1], rtol=1e-4, atol=1e-5)


def test_torchvisions_own_names_are_all_taken():
    state = torchvision.models.resnet18().state_dict()
    for library, options in LIBRARIES.items():
        full = {key: value for key, value in options.items() if 'channels' not in key}
        pytest.importorskip(f'{library}.models')
        report = load_weights(MODELS.build(dict(**full, norm_cfg=dict(type='SSN'))), state)
        assert report.ignored == ['fc.weight', 'fc.bias']
        assert len(report.loaded) == 120
        assert {n.rpartition('.')[2] for n in report.initial} == {'ratio_logits', 'radius'}


def test_a_start_may_lean_towards_batch_norm(tmp_path, sources):
    torch.save(sources['torchvision BN'], tmp_path / 'bn.pth')
    for norm in ('SSN', 'SN'):
        net = Net(
            dict(type=norm), 'mmseg', checkpoint=str(tmp_path / 'bn.pth'), bn_ratio=0.6
        )  # fmt: skip
        net.init_weights()
        expected = torch.tensor([[0.2, 0.2, 0.6]] * 2)
        torch.testing.assert_close(first_norm(net).ratios(), expected)
    torch.save(sources['SN'], tmp_path / 'sn.pth')
    net = Net(dict(type='SN'), 'mmseg', checkpoint=str(tmp_path / 'sn.pth'), bn_ratio=0.6)
    net.init_weights()  # logits that are there are kept
    assert torch.equal(first_norm(net).ratio_logits, sources['SN']['backbone.bn1.ratio_logits'])
    with pytest.raises(ValueError, match=r'bn_ratio must be in \(0, 1\) or None, got 1'):
        Net(dict(type='SN'), 'mmseg', checkpoint='x', bn_ratio=1).init_weights()


def test_an_init_cfg_keeps_relearns_or_fixes_what_was_selected(tmp_path, sources):
    torch.save({'state_dict': sources['SSN']}, tmp_path / 'ssn.pth')
    for selection in ('keep', 'relearn', 'fix'):
        net = Net(dict(type='SSN'), 'mmpretrain', prefix='backbone', selection=selection,
                  checkpoint=str(tmp_path / 'ssn.pth'))  # fmt: skip
        net.init_weights()
        assert (first_norm(net).selected == (None, None)) == (selection == 'relearn')
    torch.save({'state_dict': sources['SN']}, tmp_path / 'sn.pth')
    net = Net(dict(type='SSN'), 'mmpretrain', selection='fix', checkpoint=str(tmp_path / 'sn.pth'))
    with pytest.raises(ValueError, match='20 SSN layers have not selected, bn1, '):
        net.init_weights()
    other = dict(type='SSN', normalizers=('BN', 'IN'))  # a set that relearning alone can start
    net = Net(other, 'mmpretrain', checkpoint=str(tmp_path / 'ssn.pth'), selection='relearn')
    net.init_weights()
    assert torch.equal(first_norm(net).bias, sources['SSN']['backbone.bn1.bias'])
    assert (first_norm(net).ratio_logits == 1).all()
    net = Net(other, 'mmpretrain', checkpoint=str(tmp_path / 'ssn.pth'))
    with pytest.raises(RuntimeError, match=r'for the normalizers IN, LN, BN, .* has BN, IN;'):
        net.init_weights()
    with pytest.raises(ValueError, match="got 'thaw'"):
        Net(dict(type='SSN'), 'mmpretrain', selection='thaw', checkpoint='x').init_weights()
    sn = dict(checkpoint=str(tmp_path / 'sn.pth'))
    net = Net(dict(type='SN'), 'mmpretrain', selection='relearn', **sn)
    net.init_weights()
    assert (first_norm(net).ratio_logits == 1).all()
    with pytest.raises(ValueError, match='20 layers are SN: it never selects'):
        Net(dict(type='SN'), 'mmpretrain', selection='fix', **sn).init_weights()
    with pytest.raises(ValueError, match=r'bn_ratio=0\.5, but ResNet has no SSN or SN'):
        Net(dict(type='BN'), 'mmpretrain', bn_ratio=0.5, **sn).init_weights()
    with pytest.raises(ValueError, match=r"nothing under prefix='bakcbone'; it has \['backb"):
        Net(dict(type='SN'), 'mmpretrain', prefix='bakcbone', **sn).init_weights()


def test_what_was_loaded_left_and_ignored_is_said_with_counts_and_names(tmp_path, sources):
    logger = MMLogger.get_instance('loading', log_file=str(tmp_path / 'log'))
    torch.save(sources['torchvision BN'], tmp_path / 'bn.pth')
    load_checkpoint(resnet(dict(type='SSN')), str(tmp_path / 'bn.pth'), logger=logger)
    said = (tmp_path / 'log').read_text()
    assert 'Checkpoint: 120 tensors loaded; 40 left at their initial value: 20 ratio_logits' in said
    assert '(bn1, layer1.0.bn1, layer1.0.bn2, ...)' in said
    assert '2 of the checkpoint ignored: fc.weight, fc.bias' in said
    with pytest.raises(RuntimeError, match=r'do not match exactly: 120 tensors loaded; 40 left'):
        load_checkpoint(resnet(dict(type='SSN')), str(tmp_path / 'bn.pth'), strict=True)


def test_a_strict_loader_takes_batch_norm_and_nothing_less(tmp_path):
    """As mmaction2's RGBPoseConv3D loads ``pretrained``."""
    state = resnet(dict(type='BN')).state_dict()
    state['bn1.bias'].normal_()
    torch.save(state, tmp_path / 'bn.pth')
    net = resnet(dict(type='SSN'))
    load_checkpoint(net, str(tmp_path / 'bn.pth'), strict=True)
    assert torch.equal(net.bn1.bias, state['bn1.bias'])
    del state['bn1.bias']
    torch.save(state, tmp_path / 'less.pth')
    with pytest.raises(RuntimeError, match='do not match exactly'):
        load_checkpoint(net, str(tmp_path / 'less.pth'), strict=True)
    state = resnet(dict(type='SSN')).state_dict()
    del state['bn1.ratio_logits']
    torch.save(state, tmp_path / 'less.pth')
    with pytest.raises(RuntimeError, match='do not match exactly'):
        load_checkpoint(net, str(tmp_path / 'less.pth'), strict=True)


@pytest.mark.parametrize(
    ('key', 'shape', 'said'),
    [
        ('bn1.ratio_logits', (2, 4), r'(2, 4) in the checkpoint, (2, 3) in the network: other n'),
        ('conv1.weight', (8, 4, 7, 7), 'another number of input channels'),
        ('conv1.weight', (8, 3, 3, 3), 'another kernel size'),
        ('conv1.weight', (8, 3, 5, 7, 7), 'a network of 3D maps'),
        ('layer1.0.conv1.weight', (16, 16, 3, 3), 'another width or depth'),
        ('bn1.weight', (16,), 'another width or depth'),
        ('bn1.weight', (1, 8, 1, 1), 'a network of 2D maps'),
        ('fc.weight', (5, 64), 'another number of classes'),
    ],
)
def test_a_shape_that_does_not_fit_is_named_with_its_likely_cause(sources, key, shape, said):
    net = resnet(dict(type='SSN'))
    net.fc = nn.Linear(64, 1000)
    report = load_weights(net, sources['SSN'] | {f'backbone.{key}': torch.zeros(shape)})
    assert list(report.mismatched) == [key]
    assert said in str(report)
    assert f'{key} does not fit: {shape} in the checkpoint' in str(report)


def test_a_checkpoint_of_something_else_is_an_error(sources):
    with pytest.raises(ValueError, match=r"first names are \['a.b'\], the network has \['conv1"):
        load_weights(resnet(dict(type='SN')), {'a.b': torch.zeros(1)})


def test_plain_norms_in_the_place_of_ssn_are_warned_of(sources):
    for norm in (dict(type='BN'), dict(type='GN', num_groups=4)):
        report = load_weights(resnet(norm), sources['SSN'])
        assert len(report.unlike) == 20 or norm['type'] == 'BN'
        assert 'bn1' in report.unlike or norm['type'] == 'GN'
        assert 'so outputs differ' in str(report)
    lone = load_weights(nn.BatchNorm2d(8), {k: torch.ones(8) for k in ('weight', 'bias')} | {
        'ratio_logits': torch.eye(3)[[0, 0]], 'radius': torch.tensor(1.0)})  # fmt: skip
    assert lone.unlike == ['']
    selected_bn = {
        k: one_hot(torch.tensor([2, 2]), 3).float() if k.endswith('ratio_logits') else v
        for k, v in sources['SSN'].items()
    }
    assert not load_weights(resnet(dict(type='BN')), selected_bn).unlike


def test_mmcvs_sync_bn_is_what_an_ssn_of_batch_norm_learned_to_be(monkeypatch):
    monkeypatch.setattr(sync_bn.dist, 'get_world_size', lambda group: 1)
    theirs, x = sync_bn.SyncBatchNorm(6).eval(), torch.randn(2, 6, 5, 5)
    for selected, unlike in enumerate(([''], [''], [])):
        ssn = SSN(6).eval()
        ssn.ratio_logits.data.copy_(torch.eye(3)[[selected, 2]])
        set_radius(ssn, 1.0)
        assert load_weights(theirs, ssn.state_dict()).unlike == unlike
        assert torch.allclose(theirs(x), ssn(x), atol=1e-5) == (not unlike)


def test_a_frozen_network_is_what_the_training_of_its_selection_left():
    net = nn.Sequential(*(SSN(8, NORMALIZERS, num_groups=4) for _ in PAIRS))
    torch._foreach_mul_([layer.running_var for layer in net], 2)
    net(torch.randn(2, 8, 5, 5))
    for layer, pair in zip(net, PAIRS, strict=True):
        vertices = torch.eye(len(NORMALIZERS))[[NORMALIZERS.index(name) for name in pair]]
        layer.ratio_logits.data.copy_(vertices)
    frozen = freeze(copy.deepcopy(net).eval())
    report = load_weights(frozen, net.state_dict())
    assert (report.unlike, report.initial, report.mismatched) == ([], [], {})
    others = nn.Sequential(*frozen[1:], frozen[0])
    assert load_weights(others, net.state_dict()).unlike == list('0123456')


def test_batch_norm_comes_back_from_an_ssn_that_selected_it(sources):
    x = torch.randn(2, 3, 64, 64)
    first, ssn, last = (resnet(dict(type=norm)) for norm in ('BN', 'SSN', 'BN'))
    for net in (first, ssn, last):
        net.eval()
    load_weights(first, sources['torchvision BN'])
    load_weights(ssn, first.state_dict())
    for layer in ssn.modules():
        if isinstance(layer, SSN):
            layer.ratio_logits.data.copy_(torch.tensor([0.0, 0, 1]))
    report = load_weights(last, ssn.state_dict())
    assert (report.unlike, report.mismatched, report.initial) == ([], {}, [])
    with torch.no_grad():
        torch.testing.assert_close(ssn(x)[-1], first(x)[-1], rtol=1e-4, atol=1e-5)
        assert torch.equal(last(x)[-1], first(x)[-1])


def test_files_that_hold_no_weights_are_named(tmp_path, sources):
    for content in ([torch.zeros(1)], {'state_dict': {}}, {'epoch': 3}):
        torch.save(content, tmp_path / 'none.pth')
        net = Net(dict(type='SSN'), 'mmpretrain', checkpoint=str(tmp_path / 'none.pth'))
        with pytest.raises(ValueError, match=r'none.pth holds no weights by name, but a '):
            net.init_weights()
    torch.save({'model': sources['torchvision BN'], 'epoch': 3}, tmp_path / 'model.pth')
    net = Net(dict(type='SSN'), 'mmpretrain', checkpoint=str(tmp_path / 'model.pth'))
    net.init_weights()
    assert torch.equal(first_norm(net).bias, sources['torchvision BN']['bn1.bias'])


def test_a_training_with_averaging_loads_bare_weights(tmp_path, sources):
    torch.save(sources['torchvision BN'], tmp_path / 'bare.pth')
    net = Net(dict(type='SSN'), 'mmpretrain', checkpoint=str(tmp_path / 'bare.pth'))
    hooks = [dict(type='EMAHook'), dict(type='ReliabilityHook')]
    runner = train_two_iterations(net, tmp_path, hooks, load_from=str(tmp_path / 'bare.pth'))
    assert runner.iter == 2


def test_networks_without_ssn_are_loaded_by_mmengine_as_ever(tmp_path):
    logger = MMLogger.get_instance('plain', log_file=str(tmp_path / 'log'))
    torch.save(resnet(dict(type='BN')).state_dict() | {'x': torch.zeros(1)}, tmp_path / 'bn.pth')
    load_checkpoint(resnet(dict(type='BN')), str(tmp_path / 'bn.pth'), logger=logger)
    said = (tmp_path / 'log').read_text()
    assert 'unexpected key in source state_dict: x' in said
    assert 'tensors loaded' not in said
