"""Small trainings that are interrupted, refused, of two processes, and on ADE20K's layout."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from demos import DEMO, ROOT, digits, miou, options, train

ADE20K = ROOT / 'configs' / 'deeplab_ssn_ade20k.py'


def test_two_cpu_processes_train_to_the_same_selection(run_tool, tmp_path):
    environment = os.environ | {
        'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
        'PORT': '29612',
    }
    code, output = run_tool(
        'bash', ROOT / 'tools/dist_train.sh', DEMO, '2', '--work-dir', tmp_path / 'run',
        *digits(tmp_path, 'train_cfg.max_iters=6'),
        env=environment,
    )  # fmt: skip
    assert code == 0, output[-3000:]
    assert output.count('Results are in') == 1
    assert re.search(r'(\d+) of \1 ratios', output)


def test_an_interrupted_training_goes_on_from_its_last_checkpoint(run_tool, tmp_path):
    command = train(DEMO, '--work-dir', tmp_path / 'run', *digits(
        tmp_path, 'train_cfg.max_iters=400', 'default_hooks.checkpoint.interval=2'
    ))  # fmt: skip
    process = subprocess.Popen(
        [str(c) for c in command], cwd=tmp_path, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        # a shell that puts pytest into the background has it and its children ignore Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while not (tmp_path / 'run/last_checkpoint').exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal's Ctrl-C
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output[-3000:]
    assert 'Interrupted at iteration' in output
    again = output.strip().splitlines()[-1]
    last = Path((tmp_path / 'run/last_checkpoint').read_text())
    stood = torch.load(last, weights_only=False)['meta']['iter']
    more = ('--cfg-options', f'train_cfg.max_iters={stood + 2}')
    code, output = run_tool(*shlex.split(again), *more)
    assert code == 0, output[-3000:]
    assert f'resumed epoch: 0, iter: {stood}' in output
    assert (tmp_path / f'run/iter_{stood + 2}.pth').exists()


def test_a_frozen_backbone_that_has_not_selected_is_refused(run_tool, tmp_path):
    frozen = digits(tmp_path, 'model.backbone.frozen_stages=1')
    code, output = run_tool(*train(DEMO, '--work-dir', tmp_path / 'run', *frozen))
    assert code == 2
    assert '5 SSN layers are frozen and not selected, backbone.bn1, backbone.layer1.0.bn1' in output
    assert 'frozen_stages=-1' in output


@pytest.fixture
def ade20k(tmp_path):
    """A dozen pictures in ADE20K's layout, with its label convention."""
    root = tmp_path / 'data/ade/ADEChallengeData2016'
    rng = np.random.default_rng(0)
    for split, name, count in (('training', 'train', 4), ('validation', 'val', 2)):
        for kind in ('images', 'annotations'):
            (root / kind / split).mkdir(parents=True)
        for index in range(1, count + 1):
            stem = f'ADE_{name}_{index:08d}'
            picture = cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), (80, 60))
            label = cv2.resize(
                rng.integers(0, 151, (6, 8), np.uint8), (80, 60), interpolation=cv2.INTER_NEAREST
            )
            cv2.imwrite(str(root / 'images' / split / f'{stem}.jpg'), picture)
            cv2.imwrite(str(root / 'annotations' / split / f'{stem}.png'), label)
    return root


def test_the_ade20k_config_trains_and_tests_on_its_layout(run_tool, tmp_path, ade20k):
    pipeline = 'train_dataloader.dataset.pipeline.2.scale=(65,65)'
    code, output = run_tool(*train(ADE20K, '--work-dir', tmp_path / 'run', *options(
        'model.decode_head.in_channels=256', 'model.auxiliary_head.in_channels=128',
        'train_cfg.max_iters=3', 'model.data_preprocessor.size=(65,65)', pipeline,
        'train_dataloader.num_workers=1', 'val_dataloader.num_workers=1',
    )))  # fmt: skip
    assert code == 0, output[-3000:]
    assert '110 of 110 ratios' in output
    assert 0 <= miou(output) <= 100
