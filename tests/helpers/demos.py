"""The segmentation demo at a size that takes seconds."""

import re
import shlex
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
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


def next_steps(output):
    """The commands at a training's end by tool, and all of them as lines for a shell."""
    lines = output.strip().splitlines()
    (start,) = (i for i, line in enumerate(lines) if line.startswith('Results are in '))
    assert all(line.startswith('    ') for line in lines[start + 1 :])
    found = {}
    for line in lines[start + 1 :]:
        words = shlex.split(line)
        (at,) = (i for i, word in enumerate(words) if word.startswith(('ssn_mm::', 'tools/')))
        found[words[at].removeprefix('ssn_mm::').removeprefix('tools/')] = words[at + 1 :]
    return found


def miou(output):
    return float(re.findall(r'mIoU: ([\d.]+)', output)[-1])
