"""SSN in configs that the three libraries ship, by the options that docs/inheritance.md gives."""

import argparse
import re
from pathlib import Path

import mmaction.models  # noqa: F401, registers
import mmpretrain.models  # noqa: F401, registers
import mmseg.models  # noqa: F401, registers
import pytest
import torch
from mmaction.structures import ActionDataSample
from mmengine.config import DictAction
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, MODELS, DefaultScope
from mmengine.structures import PixelData
from mmpretrain.structures import DataSample
from mmseg.structures import SegDataSample
from torch import nn

from ssn_mm import SSN, keep_selected, set_radius
from ssn_mm.cli.config import load_config
from ssn_mm.engine.hooks import SSNRadiusHook
from ssn_mm.shipped import shipped

DOCS = Path(__file__).parents[2] / 'docs' / 'inheritance.md'
ROW = re.compile(r'^\| `(\w+)::(\S+)` \| `(.+)` \|$', re.MULTILINE)
STOCK = ROW.findall(DOCS.read_text())  # library, config, options
COMMON = 'default_hooks.ssn.type=SSNRadiusHook optim_wrapper.constructor=SSNOptimWrapperConstructor'
CLIPS = (1, 3, 8, 32, 32)  # clips, C, T, H, W
FRAMES = (8, 3, 32, 32)  # segments, C, H, W


# what no option reaches, as the page says
WITHOUT_NORM_CFG = {
    'mmpretrain::hrnet/hrnet-w18_4xb32_in1k.py': ('backbone.layer1.', 'neck.0.increase_layers.')
}


def model_of(library, config, options):
    """A stock config and its model, at random weights."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    parsed = parser.parse_args(['--cfg-options', *options]) if options else None
    path = str(shipped(library, 'configs', config))
    cfg = load_config(path, options=parsed.cfg_options if parsed else None)
    without_downloads(cfg.model)
    if library == 'mmseg':
        cfg.model.data_preprocessor.size = (64, 64)
    if library == 'mmpretrain':
        cfg.model.data_preprocessor = cfg.data_preprocessor
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return cfg, MODELS.build(cfg.model)


def without_downloads(node):
    if isinstance(node, dict):
        if node.pop('pretrained', None) and node.get('type', '').endswith('TSM'):
            node['pretrained2d'] = False  # else it loads None
        if (node.get('init_cfg') or {}).get('type') == 'Pretrained':
            node.init_cfg = None
    for child in node.values() if isinstance(node, dict) else node:
        if isinstance(child, dict | list):
            without_downloads(child)


def batch_norms(model):
    kind = nn.modules.batchnorm._BatchNorm
    return [name for name, module in model.named_modules() if isinstance(module, kind)]


def batch_for(library, model):
    """Two random samples as the library's data loader gives them."""
    if library == 'mmseg':
        labels = torch.arange(64 * 64).reshape(1, 64, 64) % 2
        samples = [SegDataSample(gt_sem_seg=PixelData(data=labels)) for _ in range(2)]
        for sample in samples:
            sample.set_metainfo({'ori_shape': (64, 64), 'img_shape': (64, 64)})
        shape = (3, 64, 64)
    elif library == 'mmpretrain':
        samples, shape = [DataSample().set_gt_label(i) for i in range(2)], (3, 64, 64)
    else:
        samples = [ActionDataSample().set_gt_label(i) for i in range(2)]
        shape = CLIPS if type(model).__name__ == 'Recognizer3D' else FRAMES
    inputs = [torch.randint(0, 256, shape, dtype=torch.uint8) for _ in samples]
    if library == 'mmpretrain':
        inputs = torch.stack(inputs)  # its collate_fn stacks, the others' keep lists
    return {'inputs': inputs, 'data_samples': samples}


def scores(library, sample):
    return sample.seg_logits.data if library == 'mmseg' else sample.pred_score


def test_the_page_names_configs_of_every_family_and_what_every_training_adds():
    assert f'`{COMMON}`' in DOCS.read_text()
    named = ' '.join(config.replace('-', '') for _, config, _ in STOCK)
    for family in (
        'resnet50', 'r50', 'hr18', 'hrnet', 'mobilenetv2', 'unet',
        'slowfast', 'r2plus1d', 'tsn', 'tsm', 'i3d', 'slowonly',
    ):  # fmt: skip
        assert family in named


@pytest.mark.parametrize(
    ('library', 'config', 'options'), STOCK, ids=[Path(c).stem[:40] for _, c, _ in STOCK]
)
def test_a_stock_config_trains_and_evaluates_with_ssn_as_its_norm(library, config, options):
    _, stock = model_of(library, config, [])
    fixed = WITHOUT_NORM_CFG.get(f'{library}::{config}', ('no prefix',))
    norms = {n for n in batch_norms(stock) if not n.startswith(fixed)}
    assert norms
    cfg, model = model_of(library, config, f'{options} {COMMON}'.split())
    layers = {n: m for n, m in model.named_modules() if isinstance(m, SSN)}
    assert set(layers) == norms
    assert all(name.startswith(fixed) for name in batch_norms(model))
    model.init_weights()
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    before = {name: layer.ratio_logits.detach().clone() for name, layer in layers.items()}
    model.train()
    set_radius(model, 0.1)
    batch = batch_for(library, model)
    losses = model.train_step(batch, optim_wrapper)
    keep_selected(model)
    assert type(HOOKS.build(cfg.default_hooks.ssn)) is SSNRadiusHook
    assert losses['loss'].isfinite()
    assert all(m.ratio_logits.isfinite().all() for m in layers.values())
    assert any((m.ratio_logits != before[n]).any() for n, m in layers.items())
    model.eval()
    with torch.no_grad():
        results = model.test_step(batch)
    assert len(results) == 2
    assert all(scores(library, sample).isfinite().all() for sample in results)
