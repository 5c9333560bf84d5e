"""Sliding windows are compared with whole pictures by mmsegmentation's own functions."""

import copy

import pytest
import torch
from mmengine.config import Config
from segmentors import photograph, save, segmentor, selected

from ssn_mm.deploy import TensorMode, fold, freeze
from ssn_mm.deploy.networks import build_network
from ssn_mm.deploy.verify_tiles import hint_at_tiles, verify_tiles, window_of
from ssn_mm.layers import put_ratios, selecting_norms

SLIDE = dict(mode='slide', crop_size=(32, 40), stride=(16, 20))


@pytest.fixture
def data(tmp_path):
    for name in ('pictures', 'labels'):
        (tmp_path / name).mkdir()
    save(tmp_path, photograph())
    return tmp_path


@torch.no_grad()
def networks_of(cfg, selection):
    """The model, and its networks, all layers of which selected BN but some."""
    torch.manual_seed(0)
    model = selected(build_network(cfg))
    for name, layer in selecting_norms(model):
        put_ratios(layer, torch.eye(3)[[selection.get(name, 2)] * 2])
    inputs = torch.randn(2, 3, 32, 32)
    model.decode_head.conv_seg.weight.normal_()
    model.decode_head.conv_seg.bias -= TensorMode(model)(inputs).mean((0, 2, 3))
    frozen = freeze(copy.deepcopy(model))
    folded = copy.deepcopy(frozen)
    fold(TensorMode(folded).eval(), inputs)
    found = dict(trained=model, frozen=frozen, folded=folded)
    return model, {name: TensorMode(network).eval() for name, network in found.items()}


@torch.no_grad()
def report_of(cfg, selection, window=((32, 40), (16, 20)), count=1):
    return verify_tiles(cfg, *networks_of(cfg, selection), count, window)


def shares(said):
    """Share of labels that each layer changes, in percent, by name, in the report's order."""
    lines = [line.split('|') for line in said.splitlines() if line.startswith('| backbone')]
    return {line[1].strip(): float(line[3].strip(' %')) for line in lines}


@pytest.mark.filterwarnings('error:sliding windows')  # which the report says
def test_every_network_is_compared_and_the_layers_that_measure_are_named(data):
    said = report_of(segmentor(data), {'backbone.layer1.0.bn1': 1, 'backbone.bn1': 0})
    assert 'sliding windows of 32x40 pixels with a stride of 16x20, on 1 test samples' in said
    equal = {line.split('|')[2].strip() for line in said.splitlines() if ' of 4320' in line}
    assert len(equal) == 1  # trained, frozen and folded agree
    assert 0 < int(equal.pop().split()[0]) < 4320
    assert '2 norms measure the window' in said
    found = shares(said)
    assert set(found) == {'backbone.bn1', 'backbone.layer1.0.bn1'}
    assert max(found.values()) > 0.1
    assert list(found.values()) == sorted(found.values(), reverse=True)


def test_a_network_of_batch_norm_is_blamed_for_nothing(data):
    said = report_of(segmentor(data), {})
    assert 'windows change' in said
    assert 'No norm measures its input' in said
    assert shares(said) == {}


def test_pictures_that_are_no_larger_than_a_window_are_said_to_change_nothing(data):
    said = report_of(segmentor(data), {'backbone.bn1': 1}, ((64, 80), (32, 40)))
    assert said.endswith('change nothing: none of 1 test samples is larger.\n')


def test_without_data_photographs_larger_than_a_window_are_compared(data):
    cfg = segmentor(data)
    cfg.pop('test_dataloader')
    said = report_of(cfg, {'backbone.bn1': 1}, ((16, 16), (8, 8)), count=2)
    assert 'on 2 photographs' in said
    assert 'of 2048' in said


def test_without_windows_a_line_says_whether_they_would_change_labels(data):
    cfg = segmentor(data)
    frozen = networks_of(cfg, {'backbone.bn1': 1})[1]['frozen']
    assert '1 norms measure what they are given' in hint_at_tiles(frozen)
    assert hint_at_tiles(networks_of(cfg, {})[1]['frozen']) == ''


@pytest.mark.parametrize(
    ('test_cfg', 'size', 'slide', 'window'),
    [
        ({}, None, None, None),
        (SLIDE, None, None, ((32, 40), (16, 20))),
        (SLIDE, (64, 64), [], ((32, 40), (16, 20))),
        ({}, (96, 48), [], ((96, 48), (64, 32))),
        (SLIDE, None, [48], ((48, 48), (32, 32))),
        ({}, None, [48, 16], ((48, 48), (16, 16))),
    ],
)
def test_windows_are_those_asked_for_else_the_configs_else_of_the_trainings_size(
    test_cfg, size, slide, window, data
):
    cfg = segmentor(data, test_cfg=test_cfg or None)
    cfg.model.data_preprocessor.size = size
    assert window_of(cfg, slide) == window


@pytest.mark.parametrize(
    ('slide', 'message'),
    [
        ([], 'the config tells no size of a window; give --slide CROP'),
        ([8, 9], 'windows of 8x8 pixels with a stride of 9x9'),
        ([8, 4, 2], r'--slide takes CROP and STRIDE, got \[8, 4, 2\]'),
    ],
)
def test_windows_that_nobody_can_run_are_refused(slide, message, data):
    with pytest.raises(ValueError, match=message):
        window_of(segmentor(data), slide)


def test_windows_are_for_segmentation():
    cfg = Config(dict(default_scope='mmpretrain', model=dict(type='ImageClassifier', head=dict())))
    cfg.model.head = dict(type='LinearClsHead', num_classes=2, in_channels=2)
    assert window_of(cfg) is None
    with pytest.raises(ValueError, match='--slide is for segmentation, and the config has Image'):
        window_of(cfg, [])
