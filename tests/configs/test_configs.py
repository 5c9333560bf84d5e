import inspect
from pathlib import Path

import pytest
import torch
from mmcv.cnn import build_norm_layer
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS as ROOT_MODELS
from mmseg.registry import MODELS
from mmseg.utils import register_all_modules
from torch import nn

from ssn_mm import SN, SSN
from ssn_mm.engine.schedules import build_schedule

CONFIGS = Path(__file__).parents[2] / 'configs'
LEAVES = sorted(
    p for p in CONFIGS.rglob('*.py') if '_base_' not in p.parts and not p.name.startswith('_')
)
ADE20K = [p for p in LEAVES if 'ade20k' in p.name]
NORM = {'syncbn': nn.SyncBatchNorm, 'gn': nn.GroupNorm, 'sn': SN, 'ssn': SSN}


@pytest.fixture(scope='module', autouse=True)
def _mmseg():
    register_all_modules()


def build(path):
    cfg = Config.fromfile(path)
    return cfg, MODELS.build(cfg.model)


def norms(model):
    kinds = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, SSN, SN)
    return [m for m in model.modules() if isinstance(m, kinds)]


def test_the_grid_is_complete():
    names = {p.stem for p in ADE20K}
    leaf = 'deeplab_r50_{}_8xb2-100k_ade20k-450x450'
    assert names == {leaf.format(norm) for norm in NORM} | {'deeplab_ssn_ade20k'}


@pytest.mark.parametrize('path', LEAVES, ids=lambda p: p.stem)
def test_every_leaf_is_short_and_builds(path):
    assert len(path.read_text().splitlines()) <= 10
    _, model = build(path)
    assert norms(model)


@pytest.mark.parametrize('path', ADE20K, ids=lambda p: p.stem)
def test_every_ade20k_leaf_has_its_norm_in_all_53_and_2_layers(path):
    _, model = build(path)
    norm = NORM[path.stem.split('_')[2 if '_r50_' in path.stem else 1]]
    assert len(norms(model)) == 55
    assert all(isinstance(m, norm) for m in norms(model))


@pytest.mark.parametrize('path', ADE20K, ids=lambda p: p.stem)
def test_the_papers_ade20k_settings_read_back(path):
    cfg, model = build(path)
    assert cfg.train_dataloader.batch_size == 2
    assert cfg.train_cfg.max_iters == 100_000
    assert cfg.param_scheduler[0].power == 0.9
    assert not cfg.auto_scale_lr.enable
    resize = next(t for t in cfg.train_pipeline if t['type'] == 'Resize')
    assert resize['scale'] == (450, 450)
    sizes = [t['scale'][1] for t in cfg.tta_pipeline[1]['transforms'][0]]
    assert sizes == [300, 400, 500, 600]
    assert model.auxiliary_head.loss_decode.loss_weight == 0.4
    assert model.decode_head.convs[0].conv.out_channels == 512
    assert model.decode_head.num_classes == 150
    assert model.backbone.conv1.kernel_size == (7, 7)
    dilations = [model.backbone.layer3[1].conv2.dilation, model.backbone.layer4[1].conv2.dilation]
    assert dilations == [(2, 2), (4, 4)]


@pytest.mark.parametrize('path', ADE20K, ids=lambda p: p.stem)
def test_parameter_groups_are_the_papers(path):
    cfg, model = build(path)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    names = {id(p): name for name, p in model.named_parameters()}
    seen = 0
    for group in wrapper.optimizer.param_groups:
        for param in group['params']:
            ratio = 'ratio_logits' in names[id(param)]
            expected = (0.02 * 0.1, 0.0) if ratio else (0.02, 1e-4)
            assert (group['lr'], group['weight_decay']) == pytest.approx(expected)
            seen += 1
    assert seen == len(list(model.parameters()))


def test_only_ssn_has_the_radius_hook_and_its_radius_is_linear():
    for path in ADE20K:
        hooks = Config.fromfile(path).get('custom_hooks', [])
        assert [h['type'] for h in hooks] == ['SSNRadiusHook'] * ('ssn' in path.stem)
        for hook in hooks:
            schedule = build_schedule(hook['schedule'])
            assert [schedule(p) for p in (0, 0.41, 1)] == [0, 0.41, 1]


@pytest.mark.parametrize('dims', [2, 3])
@pytest.mark.parametrize('name', ['bn', 'syncbn', 'gn', 'in', 'ln', 'sn', 'ssn'])
def test_norm_fragments_are_right_for_images_and_videos(name, dims):
    cfg = Config.fromfile(CONFIGS / '_base_' / 'norms' / f'{name}.py')
    _, layer = build_norm_layer(cfg.norm_cfg if dims == 2 else cfg.norm_cfg_3d, 32)
    x = torch.randn(3, 32, *[4] * dims) * 2 + 1
    assert layer.weight.shape == layer.bias.shape == (32,)
    if name == 'syncbn':  # runs in distributed training only; what it measures is BN's
        assert isinstance(layer, nn.SyncBatchNorm)
        return
    if name in ('sn', 'ssn'):
        assert type(layer) is NORM[name]
        assert layer(x).shape == x.shape
        return
    spatial = tuple(range(2, dims + 2))
    measured = {'in': spatial, 'ln': (1, *spatial), 'bn': (0, *spatial)}
    y = layer(x)
    if name == 'gn':
        y, dims_ = y.reshape(3, 32, -1), (2,)
    else:
        dims_ = measured[name]
    assert y.mean(dims_).abs().max() < 1e-5
    torch.testing.assert_close(
        y.var(dims_, correction=0), torch.ones(()).expand(y.mean(dims_).shape), atol=1e-4, rtol=0
    )


def test_no_stock_type_is_overridden():
    stock = {'BN': nn.BatchNorm2d, 'GN': nn.GroupNorm, 'LN': nn.LayerNorm, 'IN': nn.InstanceNorm2d}
    for name, module in stock.items():
        assert ROOT_MODELS.get(name) is module


def test_ssn_layers_are_called_bn():
    name, layer = build_norm_layer(dict(type='SSN'), 32, postfix=1)
    assert (name, type(layer)) == ('bn1', SSN)
    assert 'normalizers' in inspect.signature(SSN).parameters


def test_norm_cfg_reaches_normalizers_and_groups():
    cfg = dict(type='SSN', normalizers=('BN', 'GN'), num_groups=4, requires_grad=False)
    _, layer = build_norm_layer(cfg, 8)
    assert layer.normalizers == ('BN', 'GN')
    assert not any(p.requires_grad for p in layer.parameters())
