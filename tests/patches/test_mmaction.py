"""mmaction2's metrics, transforms and OmniResNet beside today's numpy and SSN."""

from importlib.util import find_spec
from pathlib import Path

import cv2
import mmaction.models
import numpy as np
import pytest
import torch

from ssn_mm import SSN


def test_a_wheel_without_drn_imports_and_drn_raises_when_constructed():
    if any(Path(find_spec('mmaction').submodule_search_locations[0]).glob('models/localizers/drn')):
        pytest.skip('this mmaction2 has DRN')
    from mmaction.models.localizers import DRN

    with pytest.raises(ImportError, match='the wheel of mmaction2 lacks DRN'):
        DRN()


def test_a_network_that_reads_its_layers_parameters_refuses_ssn_for_pictures():
    model = mmaction.models.OmniResNet(layers=[1, 1, 1, 1])
    pictures = torch.randn(2, 3, 32, 32)
    assert model(pictures).shape == (2, 2048, 1, 1)
    model.layer1[0].bn2 = SSN(64)
    assert model(torch.randn(2, 3, 2, 32, 32)).shape == (2, 2048, 2, 1, 1)
    with pytest.raises(ValueError, match='OmniResNet takes SSN for batch norm'):
        model(pictures)


def test_multisports_metric_finds_the_ends_of_tubes():
    from mmaction.evaluation.functional.multisports_utils import iou3dt_voc

    tube = np.array([[frame, 0, 0, 9, 9] for frame in (1.0, 2, 3)])
    later = tube + np.array([1, 0, 0, 0, 0])
    assert iou3dt_voc(tube, later) == pytest.approx(1 / 3)
    assert iou3dt_voc(tube, later, spatialonly=True) == 1


def picture(hue, code):
    """All of one hue, in OpenCV's units, saturated and bright."""
    hsv = np.array([[[hue, 255, 255]]], np.uint8).repeat(4, 0).repeat(4, 1)
    return cv2.cvtColor(hsv, code)


@pytest.mark.parametrize('factor', [-0.1, 0.0, 0.1])
def test_mmaction2_turns_hues_of_clips_both_ways(factor):
    from mmaction.datasets.transforms import ColorJitter

    image = picture(20, cv2.COLOR_HSV2RGB)
    found = ColorJitter.adjust_hue(image.astype(np.float32), factor)
    assert found.dtype == np.float32
    hues = cv2.cvtColor(found.astype(np.uint8), cv2.COLOR_RGB2HSV)[..., 0].astype(int)
    assert np.abs(hues - (20 + int(factor * 255)) % 180).max() <= 1
