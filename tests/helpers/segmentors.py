"""Segmentors of a narrow stage over pictures of a folder, in configs as a user writes them."""

from uuid import uuid4

import cv2
import numpy as np
import torch
from mmengine.config import Config
from PIL import Image
from sklearn.datasets import load_sample_images

from ssn_mm import set_radius
from ssn_mm.deploy import TensorMode
from ssn_mm.deploy.networks import build_network, head_of
from ssn_mm.layers import ssn_layers

NORM = dict(type='SSN', normalizers=('IN', 'LN', 'BN'))
HEAD = dict(
    type='FCNHead', in_channels=8, in_index=0, channels=8, num_convs=1, num_classes=4,
    norm_cfg=NORM,
)  # fmt: skip
OCR = dict(HEAD, type='OCRHead', ocr_channels=8)
OCR.pop('num_convs')


def segmentor(folder, suffix='.png', load=None, channels=3, heads=HEAD, test_cfg=None):
    """A config for the pictures of a folder, its network a stage of a narrow ResNet."""
    pipeline = [
        dict(type='LoadImageFromFile', **(load or {})),
        dict(type='LoadAnnotations'),
        dict(type='PackSegInputs'),
    ]
    backbone = dict(
        type='ResNet', depth=18, base_channels=8, stem_channels=8, in_channels=channels,
        num_stages=1, strides=(1,), dilations=(1,), out_indices=(0,), norm_cfg=NORM,
    )  # fmt: skip
    dataset = dict(
        type='BaseSegDataset', data_root=str(folder), metainfo=dict(classes=list('abcd')),
        data_prefix=dict(img_path='pictures', seg_map_path='labels'), img_suffix=suffix,
        pipeline=pipeline,
    )  # fmt: skip
    return Config(
        dict(
            default_scope='mmseg',
            custom_imports=dict(imports=['ssn_mm'], allow_failed_imports=False),
            work_dir=str(folder / 'work'),
            # loggers and visualizers are shared by name, which mmengine takes from the second
            experiment_name=str(uuid4()),
            model=dict(
                type='CascadeEncoderDecoder' if isinstance(heads, list) else 'EncoderDecoder',
                **(dict(num_stages=len(heads)) if isinstance(heads, list) else {}),
                data_preprocessor=dict(
                    type='SegDataPreProcessor', mean=[99.0] * channels, std=[60.0] * channels
                ),
                backbone=backbone,
                decode_head=heads,
                test_cfg=test_cfg or dict(mode='whole'),
            ),
            test_dataloader=dict(
                batch_size=1, num_workers=0, dataset=dataset,
                sampler=dict(type='DefaultSampler', shuffle=False),
            ),
            test_evaluator=dict(type='IoUMetric'),
            test_cfg=dict(type='TestLoop'),
        ),
    )  # fmt: skip


def selected(model):
    """The model, each SSN of which has selected: BN in heads, elsewhere something at random."""
    for name, layer in ssn_layers(model):
        of_head = torch.tensor([2, 2])  # other statistics of OCR's few regions amplify rounding
        selection = of_head if 'head' in name else torch.randint(3, (2,))
        layer.ratio_logits.data.copy_(torch.eye(3)[selection])
    set_radius(model, 1.0)
    return model


def weights(cfg, folder):
    """A checkpoint with random weights and selections; its labels vary over a picture."""
    torch.manual_seed(0)
    model = selected(build_network(cfg))
    channels = cfg.model.backbone.in_channels
    seen = (
        torch.from_numpy(np.resize(photograph().transpose(2, 0, 1), (channels, 54, 80))).float()
        - 99
    ) / 60
    with torch.no_grad():
        layer = head_of(model).conv_seg
        torch.nn.init.normal_(layer.weight)
        layer.bias -= TensorMode(model)(seen[None]).mean((0, 2, 3))
    file = folder / 'weights.pth'
    torch.save(dict(state_dict=model.state_dict()), file)
    return file


def photograph():
    return np.ascontiguousarray(load_sample_images().images[1][::8, ::8, ::-1])  # 54x80


def save(folder, image, suffix='.png', **options):
    """Writes a picture, and an annotation as large as it is loaded."""
    file = folder / 'pictures' / f'one{suffix}'
    if options:
        Image.fromarray(image[..., ::-1]).save(file, **options)
    else:
        cv2.imwrite(str(file), image)
    loaded = cv2.imread(str(file), cv2.IMREAD_COLOR)
    cv2.imwrite(str(folder / 'labels' / 'one.png'), np.zeros(loaded.shape[:2], np.uint8))
    return file
