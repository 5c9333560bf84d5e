"""The samples of infer are those of a test, for test pipelines of the libraries' own configs."""

from pathlib import Path

import cv2
import mmaction.datasets
import mmaction.models
import mmpretrain.datasets
import mmpretrain.models
import mmseg.datasets
import mmseg.models
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS
from segmentors import photograph

from ssn_mm.datasets.pipelines import Preparation, class_of, dataset_of_tests
from ssn_mm.deploy.networks import task_of
from ssn_mm.shipped import shipped

STOCK = [
    ('mmseg', 'pspnet/pspnet_r50-d8_4xb2-40k_cityscapes-512x1024.py'),
    ('mmseg', 'san/san-vit-b16_coco-stuff164k-640x640.py'),
    ('mmseg', 'poolformer/fpn_poolformer_s12_8xb4-40k_ade20k-512x512.py'),
    ('mmpretrain', 'resnet/resnet50_8xb32_in1k.py'),
    ('mmpretrain', 'efficientnet/efficientnet-b0_8xb32_in1k.py'),
    ('mmpretrain', 'swin_transformer/swin-base_16xb64_in1k-384px.py'),
    ('mmpretrain', 'resnet/resnet50_8xb8_cub.py'),
    ('mmaction', 'recognition/tsm/tsm_imagenet-pretrained-r50_8xb16-1x1x8-50e_kinetics400-rgb.py'),
    ('mmaction', 'recognition/c3d/c3d_sports1m-pretrained_8xb30-16x1x1-45e_ucf101-rgb.py'),
    ('mmaction', 'recognition/slowonly/slowonly_r50_8xb16-16x4x1-256e_kinetics400-flow.py'),
    ('mmaction', 'recognition/tanet/tanet_imagenet-pretrained-r50_8xb6-1x1x16-50e_sthv1-rgb.py'),
]
OTHERS = [
    ('mmseg', 'swin/swin-tiny-patch4-window7_upernet_1xb8-20k_levir-256x256.py'),
    ('mmaction', 'skeleton/posec3d/slowonly_r50_8xb16-u48-240e_ntu60-xsub-keypoint.py'),
]


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """A picture with its annotation, a video, and its frames under the names of the datasets."""
    folder = tmp_path_factory.mktemp('data')
    for name in ('img', 'ann', 'raw/v'):
        (folder / name).mkdir(parents=True)
    cv2.imwrite(str(folder / 'img/a.png'), photograph())
    cv2.imwrite(str(folder / 'ann/a.png'), photograph()[..., 0] // 64)
    code = cv2.VideoWriter.fourcc(*'mp4v')
    writer = cv2.VideoWriter(str(folder / 'v.mp4'), code, 10, (80, 54))
    for number in range(1, 21):
        frame = np.ascontiguousarray(np.roll(photograph(), number, 1))
        writer.write(frame)
        for name in ('img_{:05}.jpg', '{:05}.jpg'):
            cv2.imwrite(str(folder / 'raw/v' / name.format(number)), frame)
        for axis in 'xy':
            cv2.imwrite(str(folder / f'raw/v/{axis}_{number:05}.jpg'), frame[..., 0])
    writer.release()
    (folder / 'videos.txt').write_text('v.mp4 1\n')
    (folder / 'raw.txt').write_text('v 20 1\n')
    return folder


def sample_of_a_test(dataset, reads, folder):
    """What the data loader of a test would get, annotations included, and the file."""
    scope, pipeline = dataset['_scope_'], dataset['pipeline']
    own = {k: dataset[k] for k in ('modality', 'start_index', 'filename_tmpl') if k in dataset}
    if scope == 'mmseg':
        path = folder / 'img/a.png'
        kind = dict(
            type='BaseSegDataset', img_suffix='.png',
            data_prefix=dict(img_path=str(folder / 'img'), seg_map_path=str(folder / 'ann')),
            reduce_zero_label='reduce_zero_label' in repr(pipeline),
        )  # fmt: skip
    elif scope == 'mmpretrain':
        path = folder / 'img/a.png'
        kind = dict(
            type='CustomDataset', data_root=str(folder), data_prefix='img', with_label=False
        )
    elif reads == 'videos':
        path = folder / 'v.mp4'
        kind = dict(
            type='VideoDataset', ann_file=str(folder / 'videos.txt'), test_mode=True,
            data_prefix=dict(video=str(folder)), **own,
        )  # fmt: skip
    else:
        path = folder / 'raw/v'
        kind = dict(
            type='RawframeDataset', ann_file=str(folder / 'raw.txt'), test_mode=True,
            data_prefix=dict(img=str(folder / 'raw')), **own,
        )  # fmt: skip
    return DATASETS.build(dict(kind, _scope_=scope, pipeline=pipeline))[0], path


def check_equal(cfg, folder):
    preparation = Preparation(cfg)
    expected, path = sample_of_a_test(preparation.dataset, preparation.reads, folder)
    found = preparation(str(path)).sample
    assert torch.equal(found['inputs'], expected['inputs'])
    for key in ('ori_shape', 'img_shape', 'pad_shape', 'scale_factor', 'flip'):
        if key in expected['data_samples']:
            own, theirs = (s['data_samples'].get(key) for s in (found, expected))
            assert np.array_equal(own, theirs), key


@pytest.mark.parametrize(('library', 'config'), STOCK, ids=[Path(c).stem[:40] for _, c in STOCK])
def test_a_stock_configs_test_pipeline_gives_the_sample_of_a_test(library, config, data):
    check_equal(Config.fromfile(str(shipped(library, 'configs', config))), data)


def test_every_distinct_test_pipeline_of_the_stock_configs_does(data, long):
    """Those of networks that see something else than pictures and videos are refused."""
    if not long:
        pytest.skip('reads 1400 configs; --long')
    done, refused = set(), 0
    for library in (mmseg, mmpretrain, mmaction):
        for path in sorted((Path(library.__file__).parent / '.mim/configs').rglob('*.py')):
            try:
                cfg = Config.fromfile(str(path))
                task_of(cfg)
                dataset = dataset_of_tests(cfg)
            except (ValueError, ImportError, KeyError, RuntimeError, AttributeError):
                continue  # of other packages, of another task, or without a test
            kind = class_of(DATASETS, dataset['type'], dataset['_scope_'])
            if kind.__name__ in ('CIFAR10', 'CIFAR100', 'MNIST'):
                continue  # in memory
            key = repr((dataset['pipeline'], dataset.get('modality'), dataset.get('start_index')))
            if key in done:
                continue
            done.add(key)
            try:
                Preparation(cfg)
            except ValueError:  # see below
                refused += 1
                continue
            check_equal(cfg, data)
    assert (len(done) - refused, refused) > (100, 5)


@pytest.mark.parametrize(('library', 'config'), OTHERS, ids=[Path(c).stem[:40] for _, c in OTHERS])
def test_pipelines_for_other_data_are_refused_by_name(library, config):
    cfg = Config.fromfile(str(shipped(library, 'configs', config)))
    with pytest.raises(ValueError, match='its network sees something else than single pictures'):
        Preparation(cfg)


@pytest.mark.parametrize(
    ('config', 'shape'), [('lenet/lenet5_mnist.py', 1), ('resnet/resnet18_8xb16_cifar10.py', 3)]
)
def test_files_for_datasets_in_memory_are_decoded_as_these_have_them(config, shape, data):
    preparation = Preparation(Config.fromfile(str(shipped('mmpretrain', 'configs', config))))
    inputs = preparation(str(data / 'img/a.png')).sample['inputs']
    assert inputs.shape[0] == shape
    if shape == 3:  # CIFAR is in RGB
        assert np.array_equal(inputs.permute(1, 2, 0).numpy(), photograph()[..., ::-1])
