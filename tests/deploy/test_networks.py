"""Whatever network deploys, its ONNX file infers, and says what the checkpoint says."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.registry import DATASETS
from mmseg.models.decode_heads import FCNHead
from segmentors import HEAD, NORM, OCR, photograph, save, segmentor, selected, weights
from torch import nn
from torch.nn import functional as F

from ssn_mm.apis import Predictor
from ssn_mm.cli.deploy import Wanted, deploy
from ssn_mm.cli.infer import infer
from ssn_mm.deploy.evaluate import evaluate_networks
from ssn_mm.deploy.example_inputs import input_size
from ssn_mm.deploy.networks import build_network, check_program, task_of
from ssn_mm.deploy.verify import verify_outputs

CONFIGS = Path(__file__).parents[2] / 'configs'
TWO = dict(num_classes=2, out_channels=1, threshold=0.4)
BINARY = dict(HEAD, **TWO)
DANET = dict(HEAD, type='DAHead', pam_channels=4)
DANET.pop('num_convs')


@pytest.fixture
def data(tmp_path):
    for name in ('pictures', 'labels'):
        (tmp_path / name).mkdir()
    return tmp_path


def deployed(cfg, checkpoint, folder, shape=(48, 64)):
    """The ONNX file, and how the networks compare on a sample."""
    onnx = folder / 'model.onnx'
    program, wanted = folder / 'model.pt2', Wanted(onnx)
    return onnx, deploy(cfg, str(checkpoint), program, shape, wanted=wanted).verify(1)


@pytest.mark.exporter
@pytest.mark.parametrize(
    ('heads', 'channels'),
    [
        pytest.param([HEAD, OCR], 3, marks=pytest.mark.long, id='cascade'),
        pytest.param(BINARY, 1, id='one channel in and out'),
        pytest.param([BINARY, OCR | TWO | dict(threshold=0.5)], 3, id='cascade of one channel'),
    ],
)
def test_the_onnx_file_of_any_head_infers_as_its_checkpoint(heads, channels, data):
    load = dict(color_type='grayscale' if channels == 1 else 'color')
    cfg = segmentor(data, load=load, channels=channels, heads=heads)
    file, checkpoint = save(data, photograph()), weights(cfg, data)
    onnx, said = deployed(cfg, checkpoint, data)
    assert 'On 1 test samples:' in said
    assert said.count('4320 of 4320') == 5  # trained, frozen, folded, program, ONNX
    one, other = (Predictor(cfg, w).predict([str(file)])[0].label_map for w in (checkpoint, onnx))
    assert len(np.unique(one)) > 1
    assert (one != other).mean() < 1e-3


@pytest.mark.parametrize('there', [None, 'val'])
def test_verifying_takes_the_validation_data_or_photographs_without_test_data(there, data):
    save(data, photograph())
    cfg = segmentor(data, heads=BINARY, load=dict(color_type='grayscale'), channels=1)
    checkpoint = weights(cfg, data)
    loader = cfg.pop('test_dataloader')
    if there:
        cfg.val_dataloader = loader
    said = deploy(cfg, str(checkpoint), data / 'model.pt2', (48, 64)).verify(1)
    assert ('On 1 val samples' if there else 'photographs (the config has no test data)') in said


class Shifted:
    """A file's network that is off, and says its precision."""

    def __init__(self, network, precision):
        self.network, self.meta = network, dict(precision=precision)

    def __call__(self, inputs):
        found = self.network(inputs)
        return found + 0.4 * found.abs().max()


def test_int8_is_shown_and_not_judged_on_photographs_that_it_was_not_calibrated_with(data):
    save(data, photograph())
    cfg = segmentor(data)
    checkpoint = weights(cfg, data)
    own = deploy(cfg, str(checkpoint), data / 'model.pt2', (48, 64))
    trained = own.networks['trained']
    networks = dict(trained=trained, onnx=Shifted(trained, 'int8'))
    with pytest.raises(ValueError, match=r'the onnx network differ by 0\.4') as caught:
        verify_outputs(cfg, own.model, networks, (3, 48, 64), 1)
    assert 'not written' not in str(caught.value)  # which they are
    cfg.pop('test_dataloader')
    said = verify_outputs(cfg, own.model, networks, (3, 48, 64), 1)
    assert '| onnx    |                      4.0e-01 |' in said
    networks = dict(trained=trained, onnx=Shifted(trained, 'float32'))
    with pytest.raises(ValueError, match=r'differ by 0\.4'):
        verify_outputs(cfg, own.model, networks, (3, 48, 64), 1)


def test_metrics_that_are_no_single_numbers_are_named_and_the_others_shown(data):
    save(data, photograph())
    cfg = segmentor(data)
    checkpoint = weights(cfg, data)
    own = deploy(cfg, str(checkpoint), data / 'model.pt2', (48, 64))
    cfg.test_evaluator = [cfg.test_evaluator, dict(type=ByClass)]
    with pytest.warns(UserWarning, match='no single numbers, so not in the table: of_each_class'):
        found = evaluate_networks(cfg, own.model, dict(trained=own.networks['trained']))
    assert 'mIoU' in found['trained'].metrics
    assert found['trained'].metrics['first'] == 1
    assert 'of_each_class' not in found['trained'].metrics


class ByClass(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.append(1)

    def compute_metrics(self, results):
        return dict(of_each_class=torch.eye(3), first=torch.tensor([1.0]))


class Refining(FCNHead):
    """A head that predicts from more than its output, as PointRend does."""

    def predict(self, inputs, batch_img_metas, test_cfg):
        return self.predict_by_feat(-self.forward(inputs), batch_img_metas)


class Listing(FCNHead):
    """A head that returns something else than a tensor."""

    def forward(self, inputs):
        return dict(logits=super().forward(inputs))


@pytest.mark.parametrize(
    ('kind', 'why'),
    [
        (Refining, 'Refining predicts from more than the output of its forward pass'),
        (Listing, 'Listing returns dict, no tensor'),
    ],
)
def test_a_head_that_no_program_can_stand_for_is_refused_by_name(kind, why, data):
    cfg = segmentor(data, heads=dict(HEAD, type=kind))
    model = build_network(cfg)
    torch.nn.init.normal_(model.decode_head.conv_seg.weight)
    with torch.no_grad(), pytest.raises(ValueError, match=why):
        check_program(model, torch.randn(2, 3, 32, 32))


def test_of_several_outputs_the_one_that_is_predicted_from_is_exported(data):
    model = build_network(segmentor(data, heads=DANET))
    torch.nn.init.normal_(model.decode_head.conv_seg.weight)
    with torch.no_grad():
        check_program(model, torch.randn(2, 3, 32, 32))


def test_a_size_too_small_is_an_error_with_that_of_the_library(data):
    cfg = segmentor(data, heads=dict(HEAD, type='PSPHead', pool_scales=(1, 2), num_convs=1))
    cfg.model.decode_head.pop('num_convs')
    with torch.no_grad(), pytest.raises(ValueError, match=r'\(2, 4, 32, 32\).*give --shape'):
        check_program(build_network(cfg), torch.randn(2, 4, 32, 32))


class Cropping(nn.Module):
    """A neck that torch.export cannot follow: its window is as large as the map."""

    def forward(self, inputs):
        return tuple(F.avg_pool2d(x, x.shape[-2:]).flatten(1) for x in inputs)


def classifier(neck):
    backbone = dict(type='ResNet', depth=18, num_stages=1, out_indices=(0,), strides=(1,),
                    dilations=(1,), norm_cfg=NORM)  # fmt: skip
    return Config(
        dict(
            default_scope='mmpretrain',
            model=dict(
                type='ImageClassifier',
                backbone=backbone,
                neck=neck,
                head=dict(type='LinearClsHead', num_classes=3, in_channels=64),
            ),
            test_pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')],
        )
    )


@pytest.mark.exporter
def test_the_mean_of_powers_deploys_and_its_onnx_file_infers(tmp_path):
    cfg = classifier(dict(type='GeneralizedMeanPooling'))
    torch.manual_seed(0)
    torch.save(dict(state_dict=selected(build_network(cfg)).state_dict()), tmp_path / 'w.pth')
    onnx, said = deployed(cfg, tmp_path / 'w.pth', tmp_path)
    assert 'photographs' in said
    images = [photograph()]
    one, other = (Predictor(cfg, w).predict(images)[0].scores for w in (tmp_path / 'w.pth', onnx))
    np.testing.assert_allclose(one, other, atol=1e-4)


def test_a_layer_that_cannot_be_exported_is_named_with_what_still_works(tmp_path):
    cfg = classifier(dict(type=Cropping))
    torch.save(dict(state_dict=selected(build_network(cfg)).state_dict()), tmp_path / 'w.pth')
    why = r'Cropping \(neck\) cannot be exported for any size .*frozen checkpoint.*infer\.py'
    with pytest.raises(ValueError, match=why):
        deploy(cfg, str(tmp_path / 'w.pth'), tmp_path / 'w.pt2', (48, 64))
    assert Predictor(cfg, tmp_path / 'w.frozen.pth').predict([photograph()])[0].scores.size == 3


@pytest.mark.parametrize(
    ('model', 'named'),
    [
        (dict(type='mmpretrain.ImageToImageRetriever'), "'ImageToImageRetriever'"),
        (dict(type='mmpretrain.MAE'), "'MAE'"),
        (dict(type='mmseg.DepthEstimator'), "'DepthEstimator'"),
        (dict(type='mmaction.RecognizerAudio'), "'RecognizerAudio'"),
        (dict(type='mmaction.RecognizerGCN'), "'RecognizerGCN'"),
        (dict(type='mmpretrain.ImageClassifier', head=dict(type='MultiTaskHead')), 'MultiTaskHead'),
        (dict(type='mmpretrain.ImageClassifier', head=None), 'has no head'),
        (dict(type='NoSuchModel'), "'NoSuchModel' of the config is unknown here"),
    ],
)
def test_networks_that_tell_something_else_are_refused_by_name_before_they_are_built(model, named):
    with pytest.raises(ValueError, match=named):
        task_of(Config(dict(model=model)))


def recognizer(folder, frames):
    """A TSN of a narrow ResNet over videos, or over folders of frames."""
    opening = [dict(type='DecordInit')] if not frames else []
    decoding = dict(type='RawFrameDecode' if frames else 'DecordDecode')
    sampling = dict(type='SampleFrames', clip_len=1, frame_interval=1, num_clips=3, test_mode=True)
    pipeline = [
        *opening, sampling, decoding, dict(type='Resize', scale=(-1, 32)),
        dict(type='CenterCrop', crop_size=32), dict(type='FormatShape', input_format='NCHW'),
        dict(type='PackActionInputs'),
    ]  # fmt: skip
    kind = dict(type='RawframeDataset', filename_tmpl='{:04}.png') if frames else {}
    dataset = dict(
        type='VideoDataset', ann_file=str(folder / 'list.txt'), test_mode=True, pipeline=pipeline,
        data_prefix={'img' if frames else 'video': ''},
    )  # fmt: skip
    return Config(
        dict(
            default_scope='mmaction',
            work_dir=str(folder / 'work'),
            model=dict(
                type='Recognizer2D',
                data_preprocessor=dict(
                    type='ActionDataPreprocessor', mean=[99.0] * 3, std=[60.0] * 3
                ),
                backbone=dict(
                    type='ResNet', depth=18, norm_cfg=dict(type='SSN'),
                    num_stages=1, strides=(1,), dilations=(1,), out_indices=(0,), norm_eval=False,
                ),
                cls_head=dict(type='TSNHead', num_classes=5, in_channels=64, init_std=1.0),
            ),
            test_dataloader=dict(
                batch_size=1, num_workers=0, dataset=dict(dataset, **kind),
                sampler=dict(type='DefaultSampler', shuffle=False),
            ),
            test_evaluator=dict(type='AccMetric'),
            test_cfg=dict(type='TestLoop'),
        )
    )  # fmt: skip


@pytest.mark.exporter
@pytest.mark.mmaction
def test_a_network_over_segments_deploys_and_its_onnx_file_infers(tmp_path):
    file = tmp_path / 'film.avi'
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*'MJPG'), 10, (64, 48))
    for number in range(9):
        writer.write(np.ascontiguousarray(np.roll(photograph()[:48, :64], number, 1)))
    writer.release()
    (tmp_path / 'list.txt').write_text(f'{file} 1\n')
    cfg = recognizer(tmp_path, frames=False)
    torch.manual_seed(0)
    checkpoint = tmp_path / 'tsn.pth'
    torch.save(dict(state_dict=selected(build_network(cfg)).state_dict()), checkpoint)
    onnx, said = deployed(cfg, checkpoint, tmp_path, None)
    assert said.count('1 of 1') == 5
    one, other = (Predictor(cfg, w).predict([str(file)])[0].scores for w in (checkpoint, onnx))
    np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.mmaction
def test_folders_of_frames_are_inputs_where_the_config_reads_them(tmp_path):
    cfg = recognizer(tmp_path, frames=True)
    for name in ('a', 'deeper/b'):
        (tmp_path / 'videos' / name).mkdir(parents=True)
        for number in range(1, 8):
            image = np.ascontiguousarray(np.roll(photograph(), number, 1))
            cv2.imwrite(str(tmp_path / 'videos' / name / f'{number:04}.png'), image)
    checkpoint = tmp_path / 'tsn.pth'
    torch.manual_seed(0)
    torch.save(dict(state_dict=selected(build_network(cfg)).state_dict()), checkpoint)
    predictor = Predictor(cfg, checkpoint)
    (tmp_path / 'film.mp4').touch()
    given = [str(tmp_path / 'videos'), str(tmp_path / 'videos/a'), str(tmp_path / 'film.mp4')]
    (error,) = infer(predictor, given, tmp_path / 'out')
    assert error == dict(input=given[2], error='is a video; the network takes folders of frames')
    overlays = sorted(p.name for p in (tmp_path / 'out' / 'overlays').rglob('*.png'))
    assert overlays == ['a-2.png', 'a.png', 'b.png']
    (tmp_path / 'list.txt').write_text(f'{tmp_path}/videos/a 7 1\n')
    expected = DATASETS.build(dict(cfg.test_dataloader.dataset, _scope_='mmaction'))[0]
    found = predictor.prepare(given[1]).sample
    assert torch.equal(found['inputs'], expected['inputs'])
    (tmp_path / 'none').mkdir()
    with pytest.raises(ValueError, match='holds no folder of frames, the first of them 0001'):
        infer(predictor, [str(tmp_path / 'none')], tmp_path / 'out')


@pytest.mark.parametrize(
    ('step', 'size'),
    [
        (dict(type='Resize', scale=48), (48, 48)),
        (dict(type='mmpretrain.Resize', scale=(64, 32)), (32, 64)),  # width first
        (dict(type='Resize', scale=48, keep_ratio=True), None),
        (dict(type='ResizeEdge', scale=48), None),
    ],
)
def test_pictures_that_are_resized_without_a_crop_tell_the_size(step, size):
    cfg = Config.fromfile(CONFIGS / 'demo/resnet_bn_digits.py')
    cfg.test_dataloader.dataset.pipeline = [dict(type='LoadImageFromFile'), step]
    assert input_size(cfg, build_network(cfg)) == size
