"""Tables 1 and 2 as configs: the grid, and the paper's settings read back from what is built."""

import re
from pathlib import Path

import mmpretrain.models  # noqa: F401, registers
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS, DefaultScope
from mmpretrain.registry import MODELS
from torch import nn

from ssn_mm import SN, SSN
from ssn_mm.engine.hooks import SSNRadiusHook
from ssn_mm.layers import ssn_layers
from ssn_mm.ops import inscribed_radius

CONFIGS = Path(__file__).parents[2] / 'configs'
LEAVES = sorted((CONFIGS / 'image_classification').glob('[!_]*_imagenet.py'))
NORM = {
    'bn': nn.BatchNorm2d,
    'in': nn.InstanceNorm2d,
    'ln': nn.GroupNorm,
    'gn': nn.GroupNorm,
    'sn': SN,
    'ssn': SSN,
}
BY_STEM = {path.stem: path for path in LEAVES}


@pytest.fixture(autouse=True)
def _mmpretrain():
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


def parts(path):
    """Norm, variant, images a GPU and epochs of a leaf's name."""
    found = re.fullmatch(r'resnet\d+_([a-z]+)(-\w+)?_8xb(\d+)-(\d+)e_imagenet', path.stem)
    norm, variant, images, epochs = found.groups()
    return norm, variant, int(images), int(epochs)


def test_the_grid_is_the_papers():
    leaf = 'resnet50_{}_8xb{}-100e_imagenet'
    expected = {leaf.format(norm, 32) for norm in NORM}
    expected |= {
        leaf.format(norm, images) for norm in ('bn', 'gn', 'sn', 'ssn') for images in (16, 8, 4, 2)
    }
    expected |= {leaf.format(f'ssn-radius{epoch}', 32) for epoch in (40, 50, 60, 70)}
    expected |= {leaf.format(norm, 32) for norm in ('sn-gn', 'ssn-gn')}
    expected |= {'resnet101_ssn_8xb32-100e_imagenet', 'resnet50_ssn-argmax_8xb32-20e_imagenet'}
    assert set(BY_STEM) == expected


@pytest.mark.parametrize('path', LEAVES, ids=lambda p: p.stem)
def test_every_leaf_builds_with_its_norm_and_the_papers_parameter_groups(path):
    norm, variant, images, epochs = parts(path)
    cfg = Config.fromfile(path)
    model = MODELS.build(cfg.model)
    layers = [m for m in model.modules() if isinstance(m, NORM[norm])]
    assert len(layers) == (104 if '101' in path.stem else 53)
    if norm in ('gn', 'ln'):
        assert {m.num_groups for m in layers} == {32 if norm == 'gn' else 1}
    if variant == '-gn':
        assert {m.normalizers for m in layers} == {('IN', 'LN', 'BN', 'GN')}
    rate = 0.001 if variant == '-argmax' else 0.1 * images / 32
    names = {id(p): name for name, p in model.named_parameters()}
    groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    seen = [(group, names[id(p)]) for group in groups for p in group['params']]
    assert len(seen) == len(names)
    for group, name in seen:
        ratio = name.endswith('ratio_logits')
        expected = (rate * 0.1, 0.0) if ratio and norm == 'ssn' else (rate, 1e-4)
        assert (group['lr'], group['weight_decay']) == pytest.approx(expected), name
        assert group['momentum'] == 0.9
    assert cfg.train_dataloader.batch_size == images
    assert cfg.train_cfg.max_epochs == epochs
    assert not cfg.auto_scale_lr.enable


@pytest.mark.parametrize('norm', NORM)
def test_the_last_norm_of_each_block_starts_at_zero(norm):
    model = MODELS.build(Config.fromfile(BY_STEM[f'resnet50_{norm}_8xb32-100e_imagenet']).model)
    model.init_weights()
    layers = [m for m in model.modules() if isinstance(m, NORM[norm])]
    assert sum(not m.weight.any() for m in layers) == 16
    assert sum(bool((m.weight == 1).all()) for m in layers) == 37


@pytest.mark.parametrize(
    ('name', 'rates'),
    [
        ('resnet50_ssn_8xb32-100e', {0: 0.1, 29: 0.1, 30: 0.01, 60: 0.001, 99: 0.0001}),
        ('resnet50_ssn-argmax_8xb32-20e', {0: 0.001, 10: 0.0005, 19: 6.2e-6}),
    ],
)
def test_the_learning_rate_follows_the_papers_schedule(name, rates):
    cfg = Config.fromfile(BY_STEM[f'{name}_imagenet'])
    wrapper = build_optim_wrapper(
        nn.Linear(2, 2), dict(cfg.optim_wrapper, constructor='DefaultOptimWrapperConstructor')
    )
    (policy,) = cfg.param_scheduler
    scheduler = PARAM_SCHEDULERS.build(policy, default_args=dict(optimizer=wrapper))
    found = {}
    for epoch in range(cfg.train_cfg.max_epochs):
        found[epoch] = wrapper.param_groups[0]['lr']
        wrapper.optimizer.step()
        scheduler.step()
    assert {epoch: found[epoch] for epoch in rates} == pytest.approx(rates, rel=0.01)


def radius(path, progress):
    (hook,) = Config.fromfile(path).custom_hooks
    assert hook.pop('type') == 'SSNRadiusHook'
    return SSNRadiusHook(**hook).schedule(progress)


@pytest.mark.parametrize('path', LEAVES, ids=lambda p: p.stem)
def test_only_ssn_grows_a_radius(path):
    norm, variant, _, _ = parts(path)
    if norm != 'ssn':
        records = [dict(type='RatiosHook')] if norm == 'sn' else None
        assert Config.fromfile(path).get('custom_hooks') == records
    elif variant == '-argmax':
        assert [radius(path, p) for p in (0, 1)] == [1, 1]
    elif variant and variant.startswith('-radius'):
        at = int(variant.removeprefix('-radius')) / 100
        assert [radius(path, p) for p in (0, at, 1)] == pytest.approx([0, inscribed_radius(3), 1])
    else:
        assert [radius(path, p) for p in (0, 0.41, 1)] == [0, 0.41, 1]


def test_images_are_cropped_as_in_the_paper():
    cfg = Config.fromfile(CONFIGS / 'resnet50_ssn_imagenet.py')
    train = {t['type']: t for t in cfg.train_dataloader.dataset.pipeline}
    test = {t['type']: t for t in cfg.test_dataloader.dataset.pipeline}
    assert train['RandomResizedCrop']['scale'] == 224
    assert (test['ResizeEdge']['scale'], test['ResizeEdge']['edge']) == (256, 'short')
    assert test['CenterCrop']['crop_size'] == 224
    assert cfg.work_dir == 'work_dirs/resnet50_ssn_imagenet'


def test_two_stages_fix_the_argmax_of_a_trained_sn(tmp_path):
    sn = MODELS.build(dict(type='ResNet', depth=18, base_channels=8, stem_channels=8,
                           norm_cfg=dict(type='SN')))  # fmt: skip
    for layer in sn.modules():
        if isinstance(layer, SN):
            nn.init.normal_(layer.ratio_logits)
    ssn = MODELS.build(dict(type='ResNet', depth=18, base_channels=8, stem_channels=8,
                            norm_cfg=dict(type='SSN')))  # fmt: skip
    ssn.load_state_dict(sn.state_dict())
    for layer in ssn.modules():
        if isinstance(layer, SSN):
            layer.radius.fill_(radius(BY_STEM['resnet50_ssn-argmax_8xb32-20e_imagenet'], 0))
    theirs = dict(sn.named_modules())
    for name, layer in ssn_layers(ssn):
        largest = theirs[name].ratio_logits.argmax(1).tolist()
        assert layer.selected == tuple(layer.normalizers[k] for k in largest)
    ssn(torch.randn(2, 3, 32, 32))[0].sum().backward()
    assert not any(layer.ratio_logits.grad.any() for _, layer in ssn_layers(ssn))
