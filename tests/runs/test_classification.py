"""The ImageNet config at full model size, two iterations."""

import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
IMAGENET = ROOT / 'configs' / 'resnet50_ssn_imagenet.py'
TRAIN, TEST = ROOT / 'tools/train.py', ROOT / 'tools/test.py'


def top1(output):
    return float(re.findall(r'accuracy/top1: ([\d.]+)', output)[-1])


@pytest.fixture
def imagenet(tmp_path):
    """A picture a class in ImageNet's layout: 1000 folders for training, 1000 for validation."""
    root = tmp_path / 'data/imagenet'
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
        for label in range(1000):
            folder = root / split / f'n{label:08d}'
            folder.mkdir(parents=True)
            picture = cv2.resize(rng.integers(0, 256, (3, 4, 3), np.uint8), (40, 30))
            _, data = cv2.imencode('.JPEG', picture)
            name = f'n{label:08d}_1' if split == 'train' else f'ILSVRC2012_val_{label + 1:08d}'
            (folder / f'{name}.JPEG').write_bytes(data.tobytes())
    return root


def test_the_imagenet_config_trains_in_full_size_and_tests_on_its_layout(
    run_tool, tmp_path, imagenet
):
    small = [
        '--cfg-options', 'train_cfg.max_epochs=1', 'train_dataloader.batch_size=2',
        'train_dataloader.dataset.indices=4', 'val_dataloader.dataset.indices=4',
        'test_dataloader.dataset.indices=4', 'train_dataloader.num_workers=1',
        'train_dataloader.dataset.pipeline.1.scale=64',
        'val_dataloader.num_workers=1', 'val_dataloader.batch_size=2',
        'test_dataloader.num_workers=1', 'test_dataloader.batch_size=2',
        'default_hooks.logger.interval=1', 'default_hooks.checkpoint.save_best=None',
    ]  # fmt: skip
    code, output = run_tool(sys.executable, TRAIN, IMAGENET, *small)
    assert code == 0, output[-3000:]
    assert len(re.findall(r'Epoch\(train\) *\[1\]\[\d/2\]', output)) == 2
    assert '106 of 106 ratios (mean and variance of 53 SSN layers)' in output
    run = tmp_path / 'work_dirs/resnet50_ssn_imagenet'
    code, tested = run_tool(sys.executable, TEST, IMAGENET, run / 'epoch_1.pth', *small)
    assert code == 0, tested[-3000:]
    assert 0 <= top1(tested) <= 100
    assert top1(tested) == top1(output)
