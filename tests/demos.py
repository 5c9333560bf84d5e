"""The segmentation demo at a size that takes seconds."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
DEMO = ROOT / 'configs' / 'demo' / 'deeplab_ssn_digits.py'
SMALL = [
    'model.backbone.base_channels=8',
    'model.backbone.stem_channels=8',
    'model.decode_head.channels=8',
    'model.auxiliary_head.channels=8',
    'train_dataloader.batch_size=2',
    'train_cfg.val_interval=1000',
]


def options(*more):
    return ['--cfg-options', *SMALL, *more]


def digits(tmp_path, *more):
    """Options of a demo that takes seconds."""
    data = [
        f'{loader}_dataloader.dataset.{key}={value}'
        for loader in ('train', 'val', 'test')
        for key, value in (('data_root', tmp_path / 'ade'), ('num_train', 10), ('num_val', 4))
    ]
    widths = ['model.decode_head.in_channels=64', 'model.auxiliary_head.in_channels=32']
    return options(*data, *widths, *more)


def train(*args):
    return [sys.executable, ROOT / 'tools/train.py', *args]


def miou(output):
    return float(re.findall(r'mIoU: ([\d.]+)', output)[-1])
