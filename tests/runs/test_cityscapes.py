"""The Cityscapes config at full model size, two iterations."""

import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
CITYSCAPES = ROOT / 'configs' / 'deeplab_ssn_cityscapes.py'


def miou(output):
    return float(re.findall(r'mIoU: ([\d.]+)', output)[-1])


@pytest.fixture
def cityscapes(tmp_path):
    """Small pictures in Cityscapes's layout; labels 0..18 and 255, in blocks of one class."""
    root = tmp_path / 'data/cityscapes'
    rng = np.random.default_rng(0)
    for split, city, count in (('train', 'aachen', 4), ('val', 'frankfurt', 2)):
        for index in range(count):
            stem = f'{city}_000000_{index:06d}'
            picture = cv2.resize(rng.integers(0, 256, (4, 8, 3), np.uint8), (128, 64))
            classes = rng.choice([*range(19), 255], (4, 8)).astype(np.uint8)
            label = cv2.resize(classes, (128, 64), interpolation=cv2.INTER_NEAREST)
            for folder, name, pixels in (
                ('leftImg8bit', 'leftImg8bit', picture),
                ('gtFine', 'gtFine_labelTrainIds', label),
            ):
                (root / folder / split / city).mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(root / folder / split / city / f'{stem}_{name}.png'), pixels)
    return root


def test_the_cityscapes_config_trains_and_tests_on_its_layout(run_tool, tmp_path, cityscapes):
    size = [  # pictures of 128x64 and crops of 65; the network is whole
        'train_dataloader.dataset.pipeline.2.scale=(128,64)',
        'train_dataloader.dataset.pipeline.3.crop_size=(65,65)',
        'val_dataloader.dataset.pipeline.1.scale=(128,64)',
        'test_dataloader.dataset.pipeline.1.scale=(128,64)',
        'model.data_preprocessor.size=(65,65)',
        *(f'{name}_dataloader.num_workers=1' for name in ('train', 'val', 'test')),
    ]
    code, output = run_tool(
        sys.executable, ROOT / 'tools/train.py', CITYSCAPES, '--work-dir', tmp_path / 'run',
        '--cfg-options', 'train_cfg.max_iters=2', *size,
    )  # fmt: skip
    assert code == 0, output[-3000:]
    assert '110 of 110 ratios' in output
    code, tested = run_tool(
        sys.executable, ROOT / 'tools/test.py', CITYSCAPES, tmp_path / 'run/iter_2.pth', '--tta',
        '--work-dir', tmp_path / 'test', '--out', tmp_path / 'maps', '--cfg-options', *size,
    )  # fmt: skip
    assert code == 0, tested[-3000:]
    assert 0 <= miou(tested) <= 100
    maps = [cv2.imread(str(p), cv2.IMREAD_UNCHANGED) for p in (tmp_path / 'maps').glob('*.png')]
    assert [m.shape for m in maps] == [(64, 128)] * 2
    assert max(m.max() for m in maps) < 19
