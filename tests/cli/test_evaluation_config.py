"""tools/test.py with configs as others write them: lists, wrappers, nothing, classes for types."""

import copy
import pickle
from uuid import uuid4

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import DATASETS, init_default_scope
from mmengine.runner import Runner
from narrow import narrow
from segmentors import photograph, save, segmentor, weights

from ssn_mm.apis import Predictor
from ssn_mm.cli.config import load_config
from ssn_mm.cli.deploy import Wanted, deploy
from ssn_mm.cli.evaluation_config import enable_painting, enable_tta
from ssn_mm.cli.test import evaluate
from ssn_mm.cli.train import _enable_amp
from ssn_mm.deploy.networks import build_network
from ssn_mm.publish import configs

LAZY = """
from mmcv.transforms import LoadImageFromFile, RandomFlip, TestTimeAug
from mmengine.dataset import ConcatDataset, DefaultSampler
from mmengine.runner import TestLoop
from mmseg.datasets import BaseSegDataset
from mmseg.datasets.transforms import LoadAnnotations, PackSegInputs
from mmseg.engine.hooks import SegVisualizationHook
from mmseg.evaluation import IoUMetric
from mmseg.models import EncoderDecoder, FCNHead, SegDataPreProcessor, SegTTAModel
from mmseg.models.backbones import ResNet
from mmseg.visualization import SegLocalVisualizer

from ssn_mm import SSN

norm_cfg = dict(type=SSN)
model = dict(
    type=EncoderDecoder,
    data_preprocessor=dict(type=SegDataPreProcessor, mean=[99.0], std=[60.0]),
    backbone=dict(
        type=ResNet, depth=18, base_channels=8, stem_channels=8, in_channels=1, num_stages=1,
        strides=(1,), dilations=(1,), out_indices=(0,), norm_cfg=norm_cfg,
    ),
    decode_head=dict(
        type=FCNHead, in_channels=8, in_index=0, channels=8, num_convs=1, num_classes=4,
        norm_cfg=norm_cfg,
    ),
    test_cfg=dict(mode='whole'),
)
test_pipeline = [
    dict(type=LoadImageFromFile, color_type='grayscale'),
    dict(type=LoadAnnotations),
    dict(type=PackSegInputs),
]
tta_pipeline = [
    dict(type=LoadImageFromFile, color_type='grayscale'),
    dict(type=TestTimeAug, transforms=[
        [dict(type=RandomFlip, prob=0.0), dict(type=RandomFlip, prob=1.0)],
        [dict(type=LoadAnnotations)], [dict(type=PackSegInputs)],
    ]),
]
tta_model = dict(type=SegTTAModel)
dataset = dict(
    type=BaseSegDataset, data_root='{folder}', metainfo=dict(classes=list('abcd')),
    data_prefix=dict(img_path='pictures', seg_map_path='labels'), img_suffix='.png',
    pipeline=test_pipeline,
)
test_dataloader = dict(
    batch_size=1, num_workers=2, persistent_workers=True, prefetch_factor=2,
    dataset=dict(type=ConcatDataset, datasets=[dataset]),
    sampler=dict(type=DefaultSampler, shuffle=False),
)
test_evaluator = [dict(type=IoUMetric)]
test_cfg = dict(type=TestLoop)
default_hooks = dict(visualization=dict(type=SegVisualizationHook))
visualizer = dict(type=SegLocalVisualizer, vis_backends=[dict(type='LocalVisBackend')])
"""


@pytest.fixture
def data(tmp_path):
    for name in ('pictures', 'labels'):
        (tmp_path / name).mkdir()
    save(tmp_path, photograph())
    return tmp_path


def lazy(data):
    """A config in pure Python, whose types are classes."""
    (data / 'lazy.py').write_text(LAZY.replace('{folder}', str(data)))
    options = {'test_dataloader.num_workers': 0, 'work_dir': str(data / 'work')}
    options['experiment_name'] = str(uuid4())
    return load_config(str(data / 'lazy.py'), options=options)


def label_map(folder):
    return cv2.imread(str(folder / 'one.png'), cv2.IMREAD_UNCHANGED)


@pytest.mark.parametrize('split', ['train', 'val', 'test'])
@pytest.mark.parametrize('several', [False, True])
def test_a_loader_without_workers_is_built_whatever_else_it_says(split, several, data):
    loader = dict(
        batch_size=1, num_workers=0, persistent_workers=True, prefetch_factor=2, timeout=9,
        multiprocessing_context='fork',
    )  # fmt: skip
    text = f'{split}_dataloader = {[loader] if several else loader}'
    (data / 'config.py').write_text(text)
    read = load_config(str(data / 'config.py'))[f'{split}_dataloader']
    built = dict(read[0] if several else read)
    assert torch.utils.data.DataLoader([1, 2], **built).num_workers == 0
    (data / 'config.py').write_text(text.replace("'num_workers': 0", "'num_workers': 2"))
    read = load_config(str(data / 'config.py'))[f'{split}_dataloader']
    assert (read[0] if several else read).prefetch_factor == 2


@pytest.mark.parametrize(
    'evaluator',
    [
        dict(type='IoUMetric'),
        [dict(type='IoUMetric'), dict(type='IoUMetric', iou_metrics=['mDice'], prefix='dice')],
        dict(type='Evaluator', metrics=[dict(type='IoUMetric')]),
        None,
    ],
)
def test_label_maps_are_written_whatever_measures(evaluator, data):
    cfg = segmentor(data)
    checkpoint = weights(cfg, data)
    cfg.test_evaluator = evaluator
    metrics = evaluate(cfg, str(checkpoint), out=str(data / 'maps'))
    expected = Predictor(segmentor(data), checkpoint).predict([str(data / 'pictures/one.png')])
    np.testing.assert_array_equal(label_map(data / 'maps'), expected[0].label_map)
    assert ('mIoU' in metrics) == (evaluator is not None)
    if isinstance(evaluator, list):
        assert 'dice/mDice' in metrics


def test_without_anything_to_measure_or_to_write_a_test_says_what_to_set(data):
    cfg = segmentor(data)
    checkpoint = weights(cfg, data)
    cfg.test_evaluator = None
    with pytest.raises(ValueError, match='no test_evaluator or val_evaluator'):
        evaluate(cfg, str(checkpoint))
    cfg.test_dataloader = None
    with pytest.raises(ValueError, match='neither test_dataloader nor val_dataloader'):
        evaluate(cfg, str(checkpoint))


@pytest.mark.parametrize('wrapper', ['ConcatDataset', 'RepeatDataset', 'list'])
def test_augmented_tests_reach_a_wrapped_dataset(wrapper, data):
    cfg = segmentor(data)
    checkpoint = weights(cfg, data)
    load, *rest = cfg.test_dataloader.dataset.pipeline
    flips = [dict(type='RandomFlip', prob=prob) for prob in (0.0, 1.0)]
    cfg.tta_model = dict(type='SegTTAModel')
    cfg.tta_pipeline = [load, dict(type='TestTimeAug', transforms=[flips, *([s] for s in rest)])]
    plain = evaluate(cfg.copy(), str(checkpoint), tta=True, out=str(data / 'plain'))
    cfg.experiment_name = segmentor(data).experiment_name
    dataset = segmentor(data).test_dataloader.dataset
    wrapped = {
        'ConcatDataset': dict(type='ConcatDataset', datasets=[dataset]),
        'RepeatDataset': dict(type='RepeatDataset', times=1, dataset=dataset),
        'list': dict(
            type='ConcatDataset', datasets=[dict(type='RepeatDataset', times=1, dataset=dataset)]
        ),
    }[wrapper]
    cfg.model, cfg.test_dataloader.dataset = segmentor(data).model, wrapped
    cfg.test_evaluator = dict(type='IoUMetric')
    assert evaluate(cfg, str(checkpoint), tta=True, out=str(data / 'maps')) == plain
    np.testing.assert_array_equal(label_map(data / 'maps'), label_map(data / 'plain'))


def test_mmpretrain_averages_a_picture_and_its_mirror_image_without_being_told_how(tmp_path):
    cfg = narrow('resnet')
    torch.manual_seed(0)
    torch.save(dict(state_dict=build_network(cfg).state_dict()), tmp_path / 'weights.pth')
    (tmp_path / 'val' / 'a').mkdir(parents=True)
    image = np.ascontiguousarray(photograph()[:48, :48])
    cv2.imwrite(str(tmp_path / 'val' / 'a' / 'one.png'), image)
    dataset = dict(
        type='CustomDataset', data_root=str(tmp_path), data_prefix='val',
        pipeline=cfg.test_dataloader.dataset.pipeline,
    )  # fmt: skip
    cfg.test_dataloader.dataset, cfg.test_dataloader.num_workers = dataset, 0
    cfg.test_dataloader.pop('persistent_workers', None)
    cfg.work_dir, cfg.test_evaluator = str(tmp_path / 'work'), dict(type='Accuracy', topk=1)
    cfg.pop('tta_pipeline', None), cfg.pop('tta_model', None)
    predictor = Predictor(cfg.copy(), tmp_path / 'weights.pth')
    both = [np.ascontiguousarray(picture) for picture in (image, image[:, ::-1])]
    expected = np.mean([p.scores for p in predictor.predict(both)], 0)
    evaluate(cfg, str(tmp_path / 'weights.pth'), tta=True, out=str(tmp_path / 'scores.pkl'))
    (result,) = pickle.loads((tmp_path / 'scores.pkl').read_bytes())
    np.testing.assert_allclose(result['pred_score'].numpy(), expected, atol=1e-5)


def test_a_preprocessor_beside_the_model_as_mmpretrain_writes_it_is_the_models(tmp_path):
    cfg = narrow('resnet')
    torch.manual_seed(0)
    torch.save(dict(state_dict=build_network(cfg).state_dict()), tmp_path / 'weights.pth')
    image = np.ascontiguousarray(photograph()[:48, :48])
    (expected,) = Predictor(cfg, tmp_path / 'weights.pth').predict([image])
    cfg.data_preprocessor = cfg.model.pop('data_preprocessor')
    (found,) = Predictor(cfg, tmp_path / 'weights.pth').predict([image])
    np.testing.assert_array_equal(found.scores, expected.scores)
    rebuilt = configs.build_network(cfg).data_preprocessor
    assert torch.equal(rebuilt.mean.flatten(), torch.tensor(cfg.data_preprocessor.mean))


def test_a_mirror_image_is_made_of_what_is_packed_of_tensors_too(tmp_path):
    (tmp_path / 'val' / 'a').mkdir(parents=True)
    cv2.imwrite(str(tmp_path / 'val/a/one.png'), photograph())
    steps = ['LoadImageFromFile', 'NumpyToPIL', 'torchvision/PILToTensor', 'PackInputs']
    found = []
    for pipeline in (steps, [steps[0], steps[-1]]):
        cfg = Config(
            dict(
                default_scope='mmpretrain',
                model=dict(type='ImageClassifier'),
                test_dataloader=dict(
                    dataset=dict(
                        type='CustomDataset',
                        data_root=str(tmp_path),
                        data_prefix='val',
                        pipeline=[dict(type=name) for name in pipeline],
                    )
                ),
            )
        )
        enable_tta(cfg)
        init_default_scope('mmpretrain')
        found.append(DATASETS.build(cfg.test_dataloader.dataset)[0]['inputs'])
    mirrored, plain = found[1]
    assert torch.equal(mirrored, plain.flip(-1))
    assert torch.equal(plain.permute(1, 2, 0), torch.from_numpy(photograph()))
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


def averaging(data):
    """A config whose model averages over views already, and the same for ``--tta``."""
    cfg = segmentor(data)
    load, *rest = cfg.test_dataloader.dataset.pipeline
    flips = [dict(type='RandomFlip', prob=prob) for prob in (0.0, 1.0)]
    views = [load, dict(type='TestTimeAug', transforms=[flips, *([s] for s in rest)])]
    inside = cfg.copy()
    inside.model = dict(type='SegTTAModel', module=cfg.model)
    inside.test_dataloader = copy.deepcopy(cfg.test_dataloader)
    inside.test_dataloader.dataset.pipeline = views
    cfg.tta_model, cfg.tta_pipeline = dict(type='SegTTAModel'), views
    return inside, cfg


@pytest.mark.parametrize('tta', [False, True])
def test_a_model_that_averages_is_inferred_with_and_its_network_deployed(tta, data, capsys):
    checkpoint = weights(segmentor(data), data)
    inside, cfg = averaging(data)
    evaluate(cfg, str(checkpoint), tta=True, out=str(data / 'plain'))
    evaluate(averaging(data)[0], str(checkpoint), tta=tta, out=str(data / 'maps'))
    found = Predictor(inside, checkpoint).predict([str(data / 'pictures/one.png')])[0].label_map
    np.testing.assert_array_equal(label_map(data / 'plain'), found)
    np.testing.assert_array_equal(label_map(data / 'maps'), found)
    if not tta:
        onnx = data / 'w.onnx'
        done = deploy(inside, str(checkpoint), data / 'w.pt2', (54, 80), wanted=Wanted(onnx))
        said = capsys.readouterr().out + done.verify(1)
        assert 'the network inside SegTTAModel' in said
        assert said.count('4320 of 4320') == 5
        by_onnx = Predictor(inside, onnx).predict([str(data / 'pictures/one.png')])[0].label_map
        assert (by_onnx != found).mean() < 1e-3


def mixed(data):
    """A config whose wrapper of the test data has the last steps."""
    cfg = segmentor(data)
    dataset = cfg.test_dataloader.dataset
    *first, last = dataset.pipeline
    dataset.pipeline = first
    outer = [dict(type='RandomFlip', prob=1.0), last]
    wrapper = dict(type='MultiImageMixDataset', dataset=dataset, pipeline=outer)
    cfg.test_dataloader.dataset = wrapper
    return cfg


def test_the_steps_of_a_wrapper_are_done_by_infer_deploy_and_tta_too(data):
    cfg = mixed(data)
    checkpoint = weights(cfg, data)
    evaluate(mixed(data), str(checkpoint), out=str(data / 'maps'))
    found = Predictor(cfg, checkpoint).predict([str(data / 'pictures/one.png')])[0].label_map
    np.testing.assert_array_equal(label_map(data / 'maps'), found)
    plain = Predictor(segmentor(data), checkpoint).predict([str(data / 'pictures/one.png')])
    assert (plain[0].label_map != found).any()  # of the mirror image
    done = deploy(cfg, str(checkpoint), data / 'w.pt2', (54, 80))
    assert 'On 1 test samples' in done.verify(1)
    cfg, (_, plain) = mixed(data), averaging(data)
    cfg.tta_model, cfg.tta_pipeline = plain.tta_model, plain.tta_pipeline
    expected = evaluate(plain, str(checkpoint), tta=True)
    assert evaluate(cfg, str(checkpoint), tta=True) == expected


def test_mmaction_says_that_its_pipeline_has_the_views():
    cfg = Config(dict(default_scope='mmaction', model=dict(type='Recognizer3D')))
    with pytest.raises(ValueError, match='tta_model, the config has none; its test pipeline has'):
        enable_tta(cfg)


def test_painting_videos_by_mmaction_is_refused_with_what_does(data):
    model, hooks = dict(type='Recognizer3D'), dict(show=dict(type='VisualizationHook'))
    cfg = Config(dict(default_scope='mmaction', model=model, default_hooks=hooks))
    with pytest.raises(ValueError, match=r'tools/infer\.py paints'):
        enable_painting(cfg, 'shown')


@pytest.mark.parametrize('place', ['default_hooks', 'custom_hooks'])
def test_predictions_are_painted_wherever_the_hook_stands_and_without_a_visualizer(place, data):
    cfg = segmentor(data)
    checkpoint = weights(cfg, data)
    hook = dict(type='SegVisualizationHook')
    cfg[place] = [hook] if place == 'custom_hooks' else dict(painting=hook)
    evaluate(cfg, str(checkpoint), show_dir=str(data / 'shown'))
    assert len(list((data / 'shown').rglob('*.png'))) == 1


def test_a_config_of_classes_tests_infers_deploys_paints_and_averages(data):
    torch.manual_seed(0)
    cfg = lazy(data)
    checkpoint = weights(cfg, data)
    file = str(data / 'pictures' / 'one.png')
    expected = Predictor(lazy(data), checkpoint).predict([file])[0].label_map
    evaluate(cfg, str(checkpoint), out=str(data / 'maps'), show_dir=str(data / 'shown'))
    np.testing.assert_array_equal(label_map(data / 'maps'), expected)
    assert len(list((data / 'shown').rglob('*.png'))) == 1
    evaluate(lazy(data), str(checkpoint), tta=True, out=str(data / 'averaged'))
    assert label_map(data / 'averaged').shape == expected.shape
    deploy(lazy(data), str(checkpoint), data / 'lazy.pt2', (54, 80)).verify(1)
    program = torch.export.load(str(data / 'lazy.pt2')).module()
    assert program(torch.zeros(1, 1, 40, 40)).shape[:2] == (1, 4)


def test_mixed_precision_takes_a_wrapper_named_by_its_class(data):
    cfg = lazy(data)
    cfg.optim_wrapper = dict(type=OptimWrapper, optimizer=dict(type=torch.optim.SGD, lr=0.1))
    _enable_amp(cfg, None)
    wrapper = Runner.build_optim_wrapper(
        type('R', (), dict(model=build_network(cfg)))(), cfg.optim_wrapper
    )
    assert type(wrapper).__name__ in ('CPUAmpOptimWrapper', 'AmpOptimWrapper')
