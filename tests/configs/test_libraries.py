"""`norm_cfg=dict(type='SSN')` in the backbones of the other two libraries."""

import mmaction.models  # noqa: F401, registers
import mmpretrain.models  # noqa: F401, registers
import torch
from mmaction.registry import MODELS as ACTION
from mmpretrain.registry import MODELS as PRETRAIN

from ssn_mm import SSN, set_radius

NORM = dict(norm_cfg=dict(type='SSN'), zero_init_residual=True)


def train_once(model, shape):
    model.init_weights()
    model.train()
    set_radius(model, 0.1)
    y = model(torch.randn(shape))
    (y if isinstance(y, torch.Tensor) else y[-1]).sum().backward()
    layers = [m for m in model.modules() if isinstance(m, SSN)]
    assert len(layers) == 53
    assert sum(not m.weight.any() for m in layers) == 16  # γ of each block's last norm starts at 0
    for name, param in model.named_parameters():
        assert param.grad is not None, name
        assert param.grad.isfinite().all(), name


def test_mmpretrains_resnet_trains_with_ssn():
    train_once(
        PRETRAIN.build(
            dict(type='mmpretrain.ResNet', depth=50, base_channels=8, stem_channels=8, **NORM)
        ),
        (2, 3, 64, 64),
    )


def test_mmactions_inflated_resnet_trains_with_ssn():
    inflate = ((1, 1, 1), (1, 0, 1, 0), (1, 0, 1, 0, 1, 0), (0, 1, 0))
    i3d = dict(
        type='mmaction.ResNet3d', depth=50, pretrained=None, pretrained2d=False, base_channels=8
    )
    i3d.update(conv_cfg=dict(type='Conv3d'), inflate=inflate, **NORM)
    train_once(ACTION.build(i3d), (2, 3, 8, 64, 64))
