"""mmcv-lite's missing ops, mmcv's folding of batch norm beside SSN, and its turning of hues."""

import sys
from importlib.util import find_spec
from pathlib import Path

import cv2
import mmcv
import mmcv.ops
import numpy as np
import pytest
import torch
from mmcv.cnn import fuse_conv_bn
from mmengine.utils.dl_utils import mmcv_full_available
from stock_networks import NORMS, layers_of, measured, network, select
from torch import nn

from ssn_mm.deploy import freeze
from ssn_mm.layers import MixedNorm


def test_ops_of_mmcv_lite_raise_when_called_and_mmcv_stays_lite():
    if any(Path(find_spec('mmcv').submodule_search_locations[0]).glob('_ext*')):
        pytest.skip('the full mmcv is installed')
    assert not mmcv_full_available()
    assert 'mmcv._ext' not in sys.modules
    missing = "mmcv-lite lacks the op 'sigmoid_focal_loss_forward': install full mmcv"
    with pytest.raises(RuntimeError, match=missing):
        mmcv.ops.sigmoid_focal_loss(torch.rand(2, 3), torch.tensor([0, 1]))


@pytest.mark.parametrize('norm', NORMS)
def test_batch_norm_is_never_folded_across_another_norm(norm):
    x = torch.randn(4, 3, 8, 8)
    model = nn.Sequential(nn.Conv2d(3, 6, 3), NORMS[norm](), nn.ReLU(), nn.BatchNorm2d(6))
    model = measured(model, x)
    expected = model(x)
    fused = fuse_conv_bn(model)
    torch.testing.assert_close(fused(x), expected, rtol=1e-4, atol=1e-4)
    assert type(fused[3]) is nn.BatchNorm2d


@pytest.mark.parametrize('name', ['mmseg', 'mmpretrain'])
def test_networks_of_batch_norm_and_frozen_ssn_fold_to_the_same_outputs(name):
    for norm, selections in (('BN', []), ('SSN', [(2, 2)]), ('SSN', [(2, 2), (0, 1), (1, 1)])):
        model, x = network(name, norm)
        if selections:
            select(model, *selections)
        model = freeze(measured(model, x))
        norms = sum(isinstance(m, nn.BatchNorm2d) for m in model.modules())
        others = sum(isinstance(m, nn.GroupNorm | MixedNorm) for m in model.modules())
        expected = model(x)[-1]
        fused = fuse_conv_bn(model)
        torch.testing.assert_close(fused(x)[-1], expected, rtol=1e-3, atol=1e-3)
        assert norms
        assert bool(others) == (len(selections) > 1)
        assert not any(isinstance(m, nn.BatchNorm2d) for m in fused.modules())


def test_a_network_of_ssn_is_not_folded_before_it_is_frozen():
    model, x = network('mmpretrain')
    select(model, (2, 2))
    expected = measured(model, x)(x)[-1]
    assert torch.equal(fuse_conv_bn(model)(x)[-1], expected)
    assert len(layers_of(model)) == 20


def picture(hue, code):
    """All of one hue, in OpenCV's units, saturated and bright."""
    hsv = np.array([[[hue, 255, 255]]], np.uint8).repeat(4, 0).repeat(4, 1)
    return cv2.cvtColor(hsv, code)


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
@pytest.mark.parametrize('factor', [-0.3, -0.1, 0.0, 0.3])
def test_mmcv_turns_hues_both_ways(factor, backend):
    image = picture(50, cv2.COLOR_HSV2BGR_FULL)
    found = mmcv.adjust_hue(image, factor, backend=backend)
    hues = cv2.cvtColor(found, cv2.COLOR_BGR2HSV_FULL)[..., 0].astype(int)
    wanted = (50 + int(factor * 255)) % 256
    assert np.abs(hues - wanted).max() <= 1
