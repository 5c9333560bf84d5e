"""A training stops at a file if and only if check_data has found fault with it."""

import io

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS
from PIL import Image

from ssn_mm.datasets.check.checks import check
from ssn_mm.datasets.check.sample_check import SampleCheck
from ssn_mm.engine.data.samples import BrokenSampleError, Samples

PIXELS = cv2.resize(np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8), (80, 60))
LABELS = np.tile(np.arange(4, dtype=np.uint8).repeat(20), (60, 1))


def encoded(kind, pixels=PIXELS, **settings):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **settings)
    return file.getvalue()


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded('JPEG', exif=exif)


JPEG, PNG, MAP = encoded('JPEG'), encoded('PNG'), encoded('PNG', LABELS)
PICTURES = {  # and whether they are sound
    'whole': (JPEG, True),
    'progressive': (encoded('JPEG', progressive=True), True),
    'grey': (encoded('JPEG', PIXELS[..., 0]), True),
    'a PNG by its content': (PNG, True),
    'a WebP by its content': (encoded('WEBP'), True),
    'padded': (JPEG + bytes(10_000), True),
    'with a second picture': (JPEG + JPEG, True),
    'with a broken preview behind it': (JPEG + JPEG[:300], True),
    'a padded PNG': (PNG + bytes(10_000), True),
    'cut': (JPEG[:1000], False),
    'without its end': (JPEG[:-2], False),
    'a cut PNG': (PNG[:1000], False),
    'empty': (b'', False),
    'text': (b'<html>404</html>', False),
    'zeros': (bytes(2000), False),
    'zeros from the middle on': (JPEG[:1000] + bytes(len(JPEG) - 1000), False),
}
ANNOTATIONS = {
    'whole': (MAP, True),
    'ignored': (encoded('PNG', LABELS * 0 + 255), True),
    '16 bits': (cv2.imencode('.png', LABELS.astype(np.uint16))[1].tobytes(), True),
    'a TIFF by its content': (encoded('TIFF', LABELS), True),
    'beyond 8 bits': (cv2.imencode('.png', LABELS.astype(np.uint16) + 256)[1].tobytes(), False),
    'no class': (encoded('PNG', LABELS + 1), False),
    'colours': (PNG, False),
    'half the size': (encoded('PNG', LABELS[::2, ::2].copy()), False),
    'on its side': (encoded('PNG', LABELS.T.copy()), False),
    'cut': (MAP[: len(MAP) // 2], False),
    'empty': (b'', False),
}


def stopped(node, model):
    """The samples at which a training stops, and those with which check_data finds fault."""
    cfg = Config(dict(default_scope=node['_scope_'], model=model))
    cfg.train_dataloader = dict(dataset=node)
    dataset = DATASETS.build(node)
    samples, names = Samples(dataset, SampleCheck.of(cfg), seed=(0, 0)), []
    for index in range(len(samples)):
        try:
            samples[0, 0, index]
        except BrokenSampleError:
            names.append(dataset.get_data_info(index)['img_path'])
    (split,) = check(cfg, workers=1, progress=False)
    found = [fault for fault in split.faults if fault.kind != 'absent class']
    return names, [fault.file.replace('labels', 'images') for fault in found]


def test_a_training_stops_at_a_picture_exactly_where_check_data_finds_fault(tmp_path):
    import mmpretrain.datasets  # noqa: F401

    for name, (content, _) in PICTURES.items():
        (tmp_path / f'{name}.jpg').write_bytes(content)
    (tmp_path / 'turned.jpg').write_bytes(turned())
    files = [*PICTURES, 'turned', 'missing']
    (tmp_path / 'list.txt').write_text('\n'.join(f'{name}.jpg 0' for name in files))
    node = dict(
        type='CustomDataset', _scope_='mmpretrain', data_root=str(tmp_path), ann_file='list.txt',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='RandomResizedCrop', scale=32),
            dict(type='PackInputs'),
        ],
    )  # fmt: skip
    model = dict(head=dict(num_classes=4), data_preprocessor=dict(mean=[0.0, 0.0, 0.0]))
    training, checked = stopped(node, model)
    broken = [name for name, (_, sound) in PICTURES.items() if not sound] + ['missing']
    assert sorted(training) == sorted(str(tmp_path / f'{name}.jpg') for name in broken)
    assert sorted(checked) == sorted(training)


@pytest.mark.parametrize('resized', [False, True])
def test_a_training_stops_at_an_annotation_exactly_where_check_data_finds_fault(tmp_path, resized):
    import mmseg.datasets  # noqa: F401

    for folder in ('images', 'labels'):
        (tmp_path / folder).mkdir()
    for name, (content, _) in ANNOTATIONS.items():
        (tmp_path / f'images/{name}.png').write_bytes(JPEG)
        (tmp_path / f'labels/{name}.png').write_bytes(content)
    (tmp_path / 'images/missing.png').write_bytes(JPEG)
    resize = [dict(type='RandomResize', scale=(160, 80), ratio_range=(0.5, 2), keep_ratio=True)]
    node = dict(
        type='BaseSegDataset', _scope_='mmseg', data_root=str(tmp_path), img_suffix='.png',
        data_prefix=dict(img_path='images', seg_map_path='labels'),
        metainfo=dict(classes=tuple('abcd')),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations'),
            *(resize if resized else []),
            dict(type='PackSegInputs'),
        ],
    )  # fmt: skip
    training, checked = stopped(node, dict(decode_head=dict(num_classes=4)))
    broken = [name for name, (_, sound) in ANNOTATIONS.items() if not sound] + ['missing']
    assert sorted(training) == sorted(str(tmp_path / f'images/{name}.png') for name in broken)
    assert sorted(checked) == sorted(training)
