"""Cascades of mmsegmentation with two classes in one channel, and its sliding windows."""

import warnings
from pathlib import Path

import pytest
import torch
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS
from segmentors import segmentor
from torch import nn

from ssn_mm import set_radius
from ssn_mm.deploy import TensorMode, fold, freeze
from ssn_mm.deploy.networks import build_network, predictions, with_program
from ssn_mm.layers import put_ratios, selecting_norms

HEAD = dict(type='FCNHead', in_channels=4, channels=4, num_classes=2, out_channels=1)


@pytest.mark.parametrize('thresholds', [(0.3, 0.4), (0.4, 0.3)])
def test_a_cascade_has_the_threshold_of_its_last_head(thresholds):
    import mmseg.models  # noqa: F401, registers

    with DefaultScope.overwrite_default_scope('mmseg'):
        cascade = MODELS.build(
            dict(
                type='CascadeEncoderDecoder',
                num_stages=2,
                backbone=dict(type='ResNet', depth=18, base_channels=4, stem_channels=4),
                decode_head=[HEAD | dict(threshold=threshold) for threshold in thresholds],
            )
        )
    assert cascade.decode_head.threshold == thresholds[1]


WINDOWS = dict(mode='slide', crop_size=(32, 32), stride=(24, 24))


def sliding(norms):
    """A segmentor that tests in windows, with the norms of its backbone as they are selected."""
    torch.manual_seed(0)
    model = build_network(segmentor(Path(), test_cfg=WINDOWS))
    layers = dict(selecting_norms(model))
    for layer, selected in zip(layers.values(), [*norms, *['BN'] * len(layers)], strict=False):
        put_ratios(layer, torch.eye(3)[[layer.normalizers.index(selected)] * 2])
    set_radius(model, 1.0)
    return model


@torch.no_grad()
def told(model, size=48, times=2):
    """What is said of windows while a model predicts."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        for _ in range(times):
            predictions(model, torch.randn(1, 3, size, size))
    return [str(one.message) for one in said if 'sliding windows' in str(one.message)]


def test_windows_that_norms_measure_are_told_once_with_the_layers_and_what_to_do():
    model = sliding(['LN', 'BN', 'IN'])
    (said,) = told(model)
    assert '2 norms measure the window' in said
    assert '(backbone.bn1 LN; backbone.layer1.0.bn2 IN)' in said
    assert "mode='whole'" in said
    assert told(model) == []
    frozen = sliding(['LN', 'BN', 'IN'])
    with torch.no_grad():
        TensorMode(frozen)(torch.randn(2, 3, 32, 32))
        fold(TensorMode(freeze(frozen)).eval(), torch.randn(2, 3, 32, 32))
    assert told(frozen) == [said]


@pytest.mark.parametrize('mode', ['batch norm', 'whole', 'no larger', 'competing', 'auxiliary'])
def test_nothing_is_told_of_windows_where_they_change_nothing_or_nobody_knows(mode):
    model, size = sliding([] if mode in ('batch norm', 'auxiliary') else ['LN']), 48
    if mode == 'whole':
        model.test_cfg.mode = 'whole'
    elif mode == 'no larger':
        size = 32
    elif mode == 'competing':  # as in the validations of a training
        set_radius(model, 0.0)
        put_ratios(model.backbone.layer1[0].bn1, torch.full((2, 3), 1 / 3))
    elif mode == 'auxiliary':
        model.auxiliary_head = nn.ModuleList([nn.GroupNorm(1, 4)])
    assert told(model, size) == []


@pytest.mark.parametrize(('measures', 'count'), [(dict(norm='LN'), 1), ({}, 0), (None, 0)])
def test_of_a_program_in_the_networks_place_its_file_says_what_it_measures(measures, count):
    model = build_network(segmentor(Path(), test_cfg=WINDOWS))  # whose own layers compete
    meta = {} if measures is None else dict(measures=measures)  # None: an earlier version wrote it
    program = Program(TensorMode(model.eval()), meta)
    assert len(told(with_program(model, program))) == count


class Program:
    def __init__(self, network, meta):
        self.network, self.meta = network, meta

    def __call__(self, inputs):
        return self.network(inputs)
