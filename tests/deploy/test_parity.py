"""Frozen and folded networks equal the trained ones, whole architectures with any selections."""

import copy

import mmaction.models  # noqa: F401, registers
import mmpretrain.models  # noqa: F401
import mmseg.models  # noqa: F401
import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from ssn_mm import keep_selected, set_radius
from ssn_mm.deploy import TensorMode, fold, freeze
from ssn_mm.layers import MixedNorm, ssn_layers

SSN = dict(type='SSN')
HEAD = dict(num_classes=5, dropout_ratio=0, norm_cfg=SSN, align_corners=False)
HEAD['loss_decode'] = dict(type='mmseg.CrossEntropyLoss')


def classifier(channels, **backbone):
    return dict(
        type='ImageClassifier',
        backbone=dict(**backbone, norm_cfg=SSN),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=5, in_channels=channels),
    )


def segmentor(head, **backbone):
    return dict(
        type='EncoderDecoder', backbone=dict(**backbone, norm_cfg=SSN), decode_head=HEAD | head
    )


DILATED = dict(type='ResNetV1c', depth=18, base_channels=8, stem_channels=8, contract_dilation=True)
DILATED.update(strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4))
NETWORKS = {
    'resnet': (
        'mmpretrain',
        classifier(256, type='ResNet', depth=50, base_channels=8),
        (2, 3, 32, 32),
    ),
    'mobilenetv2': (
        'mmpretrain',
        classifier(1280, type='MobileNetV2', widen_factor=0.25),
        (2, 3, 32, 32),
    ),
    'deeplab': (
        'mmseg',
        segmentor(dict(type='ASPPHead', in_channels=64, channels=16, dilations=(1, 2)), **DILATED),
        (2, 3, 32, 48),
    ),
    'unet': (
        'mmseg',
        segmentor(
            dict(type='FCNHead', in_channels=8, channels=8, in_index=-1, num_convs=1),
            type='UNet',
            base_channels=8,
        ),
        (2, 3, 32, 32),
    ),
    'i3d': (
        'mmaction',
        dict(
            type='Recognizer3D',
            backbone=dict(
                type='ResNet3d',
                depth=50,
                base_channels=8,
                pretrained=None,
                pretrained2d=False,
                conv_cfg=dict(type='Conv3d'),
                norm_cfg=SSN,
                norm_eval=False,
            ),
            cls_head=dict(type='I3DHead', num_classes=5, in_channels=256),
        ),
        (2, 1, 3, 8, 32, 32),
    ),
}


@torch.enable_grad()
def build(name, selections):
    """A network whose layers have statistics, and selected at random or in training."""
    scope, cfg, shape = NETWORKS[name]
    with DefaultScope.overwrite_default_scope(scope):
        function = TensorMode(MODELS.build(copy.deepcopy(cfg)))
    layers = [layer for _, layer in ssn_layers(function)]
    optimizer = torch.optim.SGD(function.parameters(), lr=0.05)
    for step in range(4):
        set_radius(function, step / 3)
        function(torch.randn(shape) + 0.3).square().mean().backward()
        torch.nn.utils.clip_grad_norm_(function.parameters(), 1)  # the loss has no floor
        optimizer.step()
        keep_selected(function)
        optimizer.zero_grad()
    if selections == 'random':
        for layer in layers:
            layer.ratio_logits.data.copy_(torch.eye(3)[torch.randint(3, (2,))])
    for layer in layers:
        assert None not in layer.selected
        layer.weight.data.uniform_(0.5, 1.5)
    # in float32 the last maps, of a pixel or two, make of roundings what they like
    return function.double().eval(), torch.randn(shape, dtype=torch.float64)


@pytest.mark.parametrize('selections', ['random', 'trained'])
@pytest.mark.parametrize('name', NETWORKS)
@torch.no_grad()
def test_frozen_and_folded_networks_equal_the_trained_one(name, selections):
    trained, x = build(name, selections)
    expected = trained(x)
    selected = {name: layer.selected for name, layer in ssn_layers(trained)}
    assert len(selected) > 10
    frozen = freeze(trained)
    bound = 1e-9 * expected.abs().max()
    assert (frozen(x) - expected).abs().max() <= bound
    folded = fold(frozen, x)
    assert (folded(x) - expected).abs().max() <= bound
    for layer, own in selected.items():
        now = folded.get_submodule(layer)
        if own == ('BN', 'BN'):
            assert type(now) is nn.Identity, layer  # each follows a convolution of its own
        else:
            assert type(now) is MixedNorm, layer
            assert now.inplace
