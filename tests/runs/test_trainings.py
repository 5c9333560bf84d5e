"""Whole small trainings and tests, run as a user runs them."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[2]
DEMO = ROOT / 'configs' / 'demo' / 'deeplab_ssn_digits.py'
ADE20K = ROOT / 'configs' / 'deeplab_ssn_ade20k.py'
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


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A finished demo, by a process of its own: its folder and output."""
    folder = tmp_path_factory.mktemp('demo')
    done = subprocess.run(
        [str(c) for c in train(DEMO, '--work-dir', folder / 'run', *digits(
            folder, 'train_cfg.max_iters=8', 'default_hooks.checkpoint.interval=4'
        ))],
        cwd=folder, text=True, capture_output=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder, done.stdout


def test_a_training_ends_with_every_layer_chosen_and_says_what_to_do_next(trained):
    _, output = trained
    lines = output.strip().splitlines()
    (chosen,) = (i for i, line in enumerate(lines) if re.match(r'(\d+) of \1 ratios', line))
    *stages, last = lines[chosen + 1 :]
    assert stages[1].startswith('  backbone.layer1')
    bars = [re.search(r'  means ([ILB]+) +variances ([ILB]+)$', line).groups() for line in stages]
    assert sum(len(bar) for pair in bars for bar in pair) == 44
    assert last.startswith('Results are in run. Next, test: python tools/test.py ')
    assert 0 <= miou(output) <= 100


def test_the_commands_of_the_last_line_work(trained, run_tool):
    folder, output = trained
    commands = re.findall(r'python tools/([^;]+)', output.strip().splitlines()[-1])
    assert [command.split('.py')[0] for command in commands] == [
        'test',
        'analysis_tools/plot_ratios',
        'deploy',
    ]
    for command in commands[1:]:  # the first is another test's
        tool, *arguments = command.split()
        code, said = run_tool(sys.executable, ROOT / 'tools' / tool, *arguments, cwd=folder)
        assert code == 0, said[-3000:]
    assert (folder / 'run/figures/layers.png').is_file()
    assert '22 SSN layers, ' in said
    frozen = folder / 'run/iter_8.frozen.pth'
    code, said = run_tool(sys.executable, ROOT / 'tools/test.py', DEMO, frozen, *digits(folder))
    assert code == 2
    assert 'iter_8.frozen.pth is of a frozen network' in said
    program = torch.export.load(str(folder / 'run/iter_8.pt2')).module()
    assert program(torch.randn(1, 3, 64, 64)).shape == (1, 11, 8, 8)


def test_a_checkpoint_carries_the_choice(trained):
    folder, _ = trained
    state = torch.load(folder / 'run/iter_8.pth', weights_only=False)['state_dict']
    logits = torch.stack([v for k, v in state.items() if k.endswith('ratio_logits')])
    assert logits.shape[1:] == (2, 3)
    assert (logits.sort(-1).values == torch.tensor([0.0, 0, 1])).all()
    assert [json.loads(line) for line in (folder / 'run/ssn_ratios.jsonl').open()][-1]['iter'] == 8


def test_testing_writes_label_maps_and_pictures(trained, run_tool):
    folder, output = trained
    code, tested = run_tool(
        sys.executable, ROOT / 'tools/test.py', DEMO, folder / 'run/iter_8.pth',
        '--work-dir', folder / 'test', '--out', folder / 'maps', '--show-dir', folder / 'shown',
        *digits(folder),
    )  # fmt: skip
    assert code == 0, tested[-3000:]
    assert miou(tested) == pytest.approx(miou(output), abs=0.02)
    maps = [cv2.imread(str(p), cv2.IMREAD_UNCHANGED) for p in (folder / 'maps').glob('*.png')]
    assert len(maps) == 4
    assert len(list((folder / 'shown').rglob('*.png'))) == 4


def test_two_cpu_processes_test_as_one_does(trained, run_tool):
    folder, _ = trained
    checkpoint = folder / 'run/iter_8.pth'
    environment = os.environ | {
        'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
        'PORT': '29611',
    }
    results = []
    for command in (
        [sys.executable, ROOT / 'tools/test.py', DEMO, checkpoint],
        ['bash', ROOT / 'tools/dist_test.sh', DEMO, checkpoint, '2'],
    ):
        code, output = run_tool(
            *command, '--tta', '--work-dir', folder / 'tta', *digits(folder), env=environment
        )
        assert code == 0, output[-3000:]
        results.append(miou(output))
    assert results[0] == results[1]


def test_two_cpu_processes_train_to_the_same_choice(run_tool, tmp_path):
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
    assert '--resume' in output
    last = Path((tmp_path / 'run/last_checkpoint').read_text())
    stood = torch.load(last, weights_only=False)['meta']['iter']
    code, output = run_tool(*train(
        DEMO, '--resume', '--work-dir', tmp_path / 'run',
        *digits(tmp_path, f'train_cfg.max_iters={stood + 2}'),
    ))  # fmt: skip
    assert code == 0, output[-3000:]
    assert f'resumed epoch: 0, iter: {stood}' in output
    assert (tmp_path / f'run/iter_{stood + 2}.pth').exists()


def test_a_frozen_backbone_that_has_not_chosen_is_refused(run_tool, tmp_path):
    frozen = digits(tmp_path, 'model.backbone.frozen_stages=1')
    code, output = run_tool(*train(DEMO, '--work-dir', tmp_path / 'run', *frozen))
    assert code == 2
    assert (
        '5 SSN layers are frozen before they chose, backbone.bn1, backbone.layer1.0.bn1' in output
    )
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
