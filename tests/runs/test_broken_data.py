"""A demo over data that breaks, run as a user runs it: stops with a name, or goes on."""

import sys

import pytest
from demos import DEMO, ROOT, options

from ssn_mm.datasets.digits import write_segmentation

MORE = [
    'model.decode_head.in_channels=64',
    'model.auxiliary_head.in_channels=32',
    'train_dataloader.num_workers=2',
    'train_dataloader.persistent_workers=True',
    'train_cfg.max_iters=6',
]


@pytest.fixture
def digits(tmp_path):
    """A dataset of eight scenes with a picture cut short, and the options that train on it."""
    root = tmp_path / 'ade'
    write_segmentation(root, num_train=8, num_val=2, size=64, progress=False)
    picture = sorted((root / 'images/training').iterdir())[3]
    picture.write_bytes(picture.read_bytes()[:700])
    data = [
        f'{loader}_dataloader.dataset.{key}={value}'
        for loader in ('train', 'val', 'test')
        for key, value in (('data_root', root), ('num_train', 8), ('num_val', 2))
    ]
    return picture, options(*MORE, *data)


@pytest.mark.parametrize('broken', ['stop', 'skip'])
def test_a_training_over_a_broken_picture_names_it(run_tool, tmp_path, digits, broken):
    picture, small = digits
    code, output = run_tool(
        sys.executable, ROOT / 'tools/train.py', DEMO, '--work-dir', tmp_path / 'run', *small,
        f'default_hooks.reliability.broken={broken}',
    )  # fmt: skip
    assert f'{picture.name}: the file is cut short at 700 bytes' in output, output[-3000:]
    if broken == 'stop':
        assert code == 2, output[-3000:]
        assert output.strip().splitlines()[-1].startswith('error: ')
        assert 'Traceback' not in output.rpartition('error: ')[2]
    else:
        assert code == 0, output[-3000:]
        assert 'Results are in run' in output
        assert 'Skipped: ' in output
