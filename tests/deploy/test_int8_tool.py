"""int8 as a command: calibrated on the config's training data, written whole or not at all."""

import copy

import numpy as np
import pytest
import torch
from segmentors import photograph, save, segmentor, weights

from ssn_mm.apis import Predictor
from ssn_mm.cli.deploy import Wanted, deploy
from ssn_mm.datasets.check.preflight import DatasetMissingError
from ssn_mm.deploy.networks import build_network
from ssn_mm.deploy.samples import calibration_samples

pytest.importorskip('torchao')
pytest.importorskip('onnxscript')


@pytest.fixture
def cfg(tmp_path):
    """A config whose training data is its test data, of one picture, under random crops."""
    for name in ('pictures', 'labels'):
        (tmp_path / name).mkdir()
    save(tmp_path, photograph())
    found = segmentor(tmp_path)
    found.train_dataloader = copy.deepcopy(found.test_dataloader)
    crop = dict(type='RandomCrop', crop_size=(16, 16))
    found.train_dataloader.dataset.pipeline.insert(2, crop)
    return found


def test_samples_are_of_the_training_data_under_the_test_pipeline(cfg):
    model = build_network(cfg)
    (sample,) = calibration_samples(cfg, model, 4)
    expected = torch.from_numpy(photograph().transpose(2, 0, 1).copy()).float()
    torch.testing.assert_close(sample, (expected[None] - 99) / 60)
    with pytest.raises(ValueError, match='at least 1 sample, got 0'):
        calibration_samples(cfg, model, 0)


@pytest.mark.exporter
def test_the_tool_writes_int8_says_what_loses_and_what_bn_would_save(cfg, tmp_path, capsys):
    checkpoint, onnx = weights(cfg, tmp_path), tmp_path / 'model.onnx'
    wanted = Wanted(onnx, precision='int8', prefer='BN')
    deployed = deploy(cfg, str(checkpoint), tmp_path / 'model.pt2', (54, 80), wanted=wanted)
    said = capsys.readouterr().out
    assert 'Signal to noise of the outputs in int8' in said
    assert 'decode_head.conv_seg' in said
    assert 'layers measure their input. As batch norm' in said
    assert 'In onnxruntime, int8, it would take' in said
    for name in ('program', 'onnx'):
        assert deployed.networks[name].meta['precision'] == 'int8'
    lines = deployed.evaluate().splitlines()
    assert 'mIoU' in lines[2]
    equal = {line.split()[1]: int(line.split()[-4]) for line in lines[4:]}
    assert equal['trained'] == equal['frozen'] == 54 * 80
    assert 0.95 * 54 * 80 < equal['onnx'] < 54 * 80 + 1
    frozen = torch.load(tmp_path / 'model.frozen.pth', weights_only=True)['state_dict']
    assert {value.dtype for value in frozen.values()} <= {torch.float32, torch.int64}
    labels = [
        Predictor(cfg, file).predict([photograph()])[0].label_map for file in (checkpoint, onnx)
    ]
    assert (labels[0] == labels[1]).mean() > 0.95
    assert len(np.unique(labels[0])) > 1


def test_without_training_data_nothing_is_written(cfg, tmp_path):
    checkpoint = weights(cfg, tmp_path)
    before = sorted(tmp_path.iterdir())
    wanted, out = Wanted(precision='int8'), tmp_path / 'model.pt2'
    dataset = cfg.train_dataloader.dataset
    dataset.update(type='ADE20KDataset', data_root=str(tmp_path / 'nowhere'))
    with pytest.raises(DatasetMissingError, match='nowhere'):
        deploy(cfg, str(checkpoint), out, (54, 80), wanted=wanted)
    cfg.pop('train_dataloader')
    with pytest.raises(ValueError, match='no train_dataloader, whose samples int8 is calibrated'):
        deploy(cfg, str(checkpoint), out, (54, 80), wanted=wanted)
    assert sorted(tmp_path.iterdir()) == before
