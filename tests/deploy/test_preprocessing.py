"""Files that take pixels give what the config's own preprocessing and network give."""

import json

import cv2
import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from narrow import narrow
from sklearn.datasets import load_sample_images
from torch import nn

from ssn_mm import set_radius
from ssn_mm.apis import Predictor
from ssn_mm.cli.deploy import Wanted, deploy
from ssn_mm.deploy import OnnxProgram, Preprocessing, TorchProgram, export_program, preprocessing_of
from ssn_mm.deploy.networks import build_network
from ssn_mm.deploy.preprocessing import on_preprocessed
from ssn_mm.layers import ssn_layers

INPUTS = {
    'resnet': torch.zeros(2, 3, 64, 32),
    'deeplab': torch.zeros(2, 3, 64, 32),
    'i3d': torch.zeros(2, 2, 3, 8, 32, 24),
}


def preprocessed(model, pixels):
    """What a model's library makes of a batch of pixels."""
    batch = dict(inputs=list(pixels), data_samples=None)
    return model.data_preprocessor(batch, False)['inputs'].float()


@pytest.mark.mmaction
@pytest.mark.parametrize('task', INPUTS)
def test_it_does_what_each_library_s_data_preprocessor_does(task):
    model = build_network(narrow(task))
    found = preprocessing_of(model, INPUTS[task])
    assert found.reverse == (task != 'i3d')  # videos are decoded as RGB
    pixels = torch.randint(256, INPUTS[task].shape, dtype=torch.uint8)
    expected = preprocessed(model, pixels)
    torch.testing.assert_close(found(pixels), expected)
    torch.testing.assert_close(found.inverse(expected), pixels.float(), atol=1e-4, rtol=0)
    again = Preprocessing(**json.loads(json.dumps(found.meta)))
    torch.testing.assert_close(again(pixels), expected)


@pytest.mark.mmaction
def test_segments_of_videos_and_models_that_only_swap_channels_are_preprocessed():
    model = nn.Module()
    kind = dict(type='mmaction.ActionDataPreprocessor', to_rgb=True)
    model.data_preprocessor = MODELS.build(kind | dict(mean=[1, 2, 3], std=[2, 2, 4]))
    segments = torch.randint(256, (2, 4, 3, 8, 9), dtype=torch.uint8)
    found = preprocessing_of(model, segments)
    torch.testing.assert_close(found(segments), preprocessed(model, segments))
    model.data_preprocessor = MODELS.build(kind)
    found = preprocessing_of(model, segments)
    assert (found.meta['mean'], found.meta['std'], found.reverse) == ([0], [1], True)
    torch.testing.assert_close(found(segments), segments.flip(2).float())


@pytest.mark.parametrize(
    ('task', 'setting'),
    [('resnet', dict(pad_size_divisor=32)), ('deeplab', dict(test_cfg=dict(size_divisor=32)))],
)
def test_padding_is_refused_by_name(task, setting):
    cfg = narrow(task)
    cfg.model.data_preprocessor.update(setting)
    model = build_network(cfg)
    name = type(model.data_preprocessor).__name__
    with pytest.raises(ValueError, match=rf'{name} makes inputs \(3, 96, 64\) of pixels \(3, 65'):
        preprocessing_of(model, INPUTS[task])


def test_what_is_more_than_mean_and_std_is_refused_by_name():
    model = build_network(narrow('resnet'))

    class Squares(type(model.data_preprocessor)):
        def forward(self, data, training=False):
            done = super().forward(data, training)
            return done | dict(inputs=done['inputs'].square())

    model.data_preprocessor.__class__ = Squares
    with pytest.raises(ValueError, match='Squares does more to pixels than'):
        preprocessing_of(model, INPUTS['resnet'])


def test_a_program_of_torch_that_takes_pixels_equals_one_after_preprocessing(tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    preprocessing = Preprocessing([100.0, 110.0, 120.0], [50.0, 60.0, 70.0], True)
    pixels, file = torch.randint(256, (2, 3, 9, 9)).float(), tmp_path / 'model.pt2'
    export_program(model, pixels, file, preprocessing=preprocessing)
    program = TorchProgram(file)
    assert program.meta['preprocessing'] == preprocessing.meta
    inputs = preprocessing(pixels)
    torch.testing.assert_close(program(pixels), model(inputs).detach())
    torch.testing.assert_close(on_preprocessed(program)(inputs), model(inputs).detach())


@pytest.fixture(scope='module')
def deployed(tmp_path_factory):
    """A segmentor, and its files that take pixels, compared on two samples."""
    pytest.importorskip('onnxscript'), pytest.importorskip('openvino')
    folder = tmp_path_factory.mktemp('deployed')
    cfg = narrow('deeplab')
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model = build_network(cfg)
    for _, layer in ssn_layers(model):
        layer.ratio_logits.data.copy_(torch.eye(3)[torch.randint(3, (2,))])
    set_radius(model, 1.0)
    torch.save(dict(state_dict=model.state_dict()), folder / 'w.pth')
    wanted = Wanted(folder / 'm.onnx', folder / 'm.xml', preprocess=True)
    out = folder / 'm.pt2'
    done = deploy(cfg, str(folder / 'w.pth'), out, (64, 48), wanted=wanted)
    return cfg, done, done.verify(2)


@pytest.mark.exporter
def test_deployed_files_that_take_pixels_are_compared_and_infer_the_same_labels(deployed, tmp_path):
    cfg, done, said = deployed
    assert said.count(f'{2 * 64 * 64} of {2 * 64 * 64}') == 6
    picture = load_sample_images().images[0][::4, ::5, ::-1].copy()
    cv2.imwrite(str(tmp_path / 'china.png'), picture)
    item = str(tmp_path / 'china.png')
    (expected,) = Predictor(cfg, done.files['trained']).predict([item])
    assert len(set(expected.label_map.flat)) > 1
    for name in ('onnx', 'openvino'):
        (found,) = Predictor(cfg, done.files[name]).predict([item])
        assert (found.label_map == expected.label_map).mean() > 0.999


@pytest.mark.exporter
def test_what_is_loaded_from_a_picture_goes_into_the_file_as_it_is(deployed):
    """BGR pixels as OpenCV reads them; a network that got RGB would give something else."""
    _, done, _ = deployed
    picture = load_sample_images().images[0][:65, :51, ::-1].copy()
    pixels = torch.from_numpy(picture).permute(2, 0, 1)[None]
    expected = done.networks['trained'](preprocessed(done.model, pixels))
    program = OnnxProgram(done.files['onnx'])
    assert (program(pixels) - expected).abs().max() < 1e-4 * expected.abs().max()
    assert (program(pixels.flip(1)) - expected).abs().max() > 1e-2 * expected.abs().max()
