"""The three demos' networks, small, in half precision as in float32."""

from pathlib import Path

import pytest
import torch
from mmaction.structures import ActionDataSample
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import PixelData
from mmpretrain.structures import DataSample
from mmseg.structures import SegDataSample

from ssn_mm import keep_selected, set_radius
from ssn_mm.layers import ssn_layers

DEMO = Path(__file__).parents[2] / 'configs' / 'demo'
ITERATIONS = 8
# a picture's or clip's shape, and options that make the network small
NETWORKS = {
    'resnet': (
        (3, 24, 24),
        dict(backbone=dict(base_channels=8, stem_channels=8), head=dict(in_channels=32)),
    ),
    'deeplab': (
        (3, 24, 24),
        dict(
            data_preprocessor=dict(size=(24, 24)),
            backbone=dict(base_channels=4, stem_channels=4),
            decode_head=dict(in_channels=32, channels=8),
            auxiliary_head=dict(in_channels=16, channels=8),
        ),
    ),
    'i3d': (
        (1, 3, 4, 40, 40),
        dict(backbone=dict(base_channels=4), cls_head=dict(in_channels=32, dropout_ratio=0.0)),
    ),
}


def sample(name, label, shape):
    if name == 'resnet':
        return DataSample().set_gt_label(label)
    if name == 'i3d':
        return ActionDataSample().set_gt_label(label)
    pixels = torch.full((1, *shape[-2:]), label)
    pixels[..., : shape[-1] // 2] = 0
    return SegDataSample(
        gt_sem_seg=PixelData(data=pixels),
        metainfo=dict(img_shape=shape[-2:], ori_shape=shape[-2:]),
    )


def batches(name, seed):
    """Pictures whose brightness tells their class."""
    generator = torch.Generator().manual_seed(seed)
    shape = NETWORKS[name][0]
    for _ in range(ITERATIONS):
        noise = torch.randint(0, 120, (4, *shape), generator=generator, dtype=torch.uint8)
        yield dict(
            inputs=[picture + 40 * label for label, picture in enumerate(noise)],
            data_samples=[sample(name, label, shape) for label in range(4)],
        )


def train(name, dtype=None, seed=0):
    """Trains until all rows are selected; returns the losses, and the dtypes that layers saw."""
    cfg = Config.fromfile(DEMO / f'{name}_ssn_digits.py')
    cfg.merge_from_dict(dict(model=NETWORKS[name][1]))
    cfg.optim_wrapper.optimizer.lr *= 0.1  # as in the demos' warm-up
    if dtype:
        cfg.optim_wrapper.update(type='CPUAmpOptimWrapper', dtype=dtype)
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
        optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    seen = set()
    for _, layer in ssn_layers(model):
        layer.register_forward_hook(lambda _, x, y: seen.add((x[0].dtype, y.dtype)))
    model.train()
    losses = []
    for i, batch in enumerate(batches(name, seed)):
        set_radius(model, i / (ITERATIONS - 1))
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            losses.append(model.train_step(batch, optim_wrapper)['loss'].item())
        keep_selected(model)
    assert all(None not in layer.selected for _, layer in ssn_layers(model))
    state = model.state_dict().values()
    assert {t.dtype for t in state if t.is_floating_point()} == {torch.float32}
    return torch.tensor(losses), seen


@pytest.mark.parametrize('name', NETWORKS)
def test_a_training_in_half_precision_stays_closer_to_float32_than_another_seed_does(name, long):
    exact, _ = train(name)
    noise = (train(name, seed=1)[0] - exact).abs().mean()
    for dtype in ('float16', 'bfloat16') if long or name != 'deeplab' else ('float16',):
        losses, seen = train(name, dtype)
        assert seen == {(getattr(torch, dtype),) * 2}
        distance = (losses - exact).abs().mean()
        print(f'{name}, {dtype}: mean |loss - float32| {distance:.4f}, another seed {noise:.4f}')
        assert distance < noise
