"""Training tools of the three libraries, by themselves and through `python -m ssn_mm`."""

import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from ssn_mm.__main__ import main
from ssn_mm.cli.tool import run_tool as run_as_tool
from ssn_mm.shipped import shipped

DOCS = Path(__file__).parents[2] / 'docs' / 'inheritance.md'
SHORT = [
    'train_dataloader.batch_size=2',
    'train_dataloader.num_workers=1',
    'val_dataloader.num_workers=1',
]


def trained(run_tool, folder, command, *options):
    """Runs a training of two iterations; its output, and how many layers selected (all of them)."""
    more = [] if '--cfg-options' in command else ['--cfg-options']
    code, output = run_tool(
        sys.executable, *command[1:], *more, *SHORT, *options, '--work-dir', 'run'
    )
    assert code == 0, output[-3000:]
    path = (folder / 'run/last_checkpoint').read_text()
    state = torch.load(folder / path, weights_only=False)['state_dict']
    logits = torch.stack([v for k, v in state.items() if k.endswith('ratio_logits')])
    assert (logits.sort(-1).values == torch.tensor([0.0, 0, 1])).all()
    return output, len(logits)


def command_of(library):
    """The command that the page gives for a library's tool."""
    text = DOCS.read_text().replace('\\\n', ' ')
    (line,) = re.findall(rf'^python -m ssn_mm {library}::train\.py .*$', text, re.MULTILINE)
    return line.split()


def own_tool(library):
    """A library's tool as it lies, run by itself."""
    return ['python', str(shipped(library, 'tools', 'train.py'))]


@pytest.mark.parametrize('by_itself', [True, False], ids=['by itself', 'by our page'])
def test_mmsegmentations_tool_trains_our_config(run_tool, tmp_path, by_itself):
    data = [
        f'{loader}_dataloader.dataset.{key}={value}'
        for loader in ('train', 'val')
        for key, value in (('data_root', 'ade'), ('num_train', 10), ('num_val', 4))
    ]
    config = str(shipped('ssn_mm', 'configs', 'demo/deeplab_ssn_digits.py'))
    command = [*own_tool('mmseg'), config] if by_itself else command_of('mmseg')
    output, layers = trained(
        run_tool, tmp_path, command, *data, 'train_cfg.max_iters=2',
        'train_cfg.val_interval=2', 'default_hooks.checkpoint.interval=2',
    )  # fmt: skip
    assert layers == 22
    assert 'mIoU: ' in output


@pytest.fixture
def imagenet(tmp_path):
    rng = np.random.default_rng(0)
    root = tmp_path / 'data/imagenet'
    (root / 'meta').mkdir(parents=True)
    for split in ('train', 'val'):
        (root / split).mkdir()
        for index in range(4):
            picture = rng.integers(0, 256, (48, 64, 3), np.uint8)
            cv2.imwrite(str(root / split / f'{index}.png'), picture)
        lines = [f'{index}.png {index % 2}\n' for index in range(4)]
        (root / 'meta' / f'{split}.txt').write_text(''.join(lines))


def test_mmpretrains_tool_trains_its_stock_config_with_ssn(run_tool, tmp_path, imagenet):
    output, layers = trained(
        run_tool, tmp_path, command_of('mmpretrain'), 'train_cfg.max_epochs=1',
        'train_dataloader.dataset.pipeline.1.scale=64',
    )  # fmt: skip
    assert layers == 20
    assert 'accuracy/top1: ' in output


@pytest.fixture
def kinetics(tmp_path):
    rng = np.random.default_rng(0)
    root = tmp_path / 'data/kinetics400'
    for split in ('train', 'val'):
        (root / f'videos_{split}').mkdir(parents=True)
        for index in range(4):
            path = root / f'videos_{split}/{index}.mp4'
            video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), 8, (64, 64))
            for _ in range(8):
                video.write(rng.integers(0, 256, (64, 64, 3), np.uint8))
            video.release()
        lines = [f'{index}.mp4 {index % 2}\n' for index in range(4)]
        (root / f'kinetics400_{split}_list_videos.txt').write_text(''.join(lines))


@pytest.mark.mmaction
def test_mmactions_own_tool_trains_the_pages_config(run_tool, tmp_path, kinetics):
    (text,) = re.findall(r"```python\n(_base_ = 'mmaction::.*?)```", DOCS.read_text(), re.DOTALL)
    (tmp_path / 'mine.py').write_text(text)
    output, layers = trained(
        run_tool, tmp_path, [*own_tool('mmaction'), 'mine.py'], 'train_cfg.max_epochs=1',
        'default_hooks.checkpoint.interval=1', 'model.backbone.depth=18',
        'model.cls_head.in_channels=512', 'val_dataloader.batch_size=2',
    )  # fmt: skip
    assert layers == 20
    assert 'acc/top1: ' in output


def test_the_script_sees_its_own_name_folder_and_arguments(run_alone, tmp_path):
    (tmp_path / 'tools').mkdir()
    (tmp_path / 'tools/beside.py').write_text('')
    script = tmp_path / 'tools/mine.py'
    script.write_text('import sys, beside\nif __name__ == "__main__": print(*sys.argv)\n')
    code, output = run_alone(sys.executable, '-m', 'ssn_mm', 'tools/mine.py', '--x', 'a::b', 'c')
    assert (code, output.splitlines()[-1]) == (0, 'tools/mine.py --x a::b c')


@pytest.mark.parametrize(
    ('arguments', 'code', 'message'),
    [
        (['--help'], 0, 'usage: python -m ssn_mm SCRIPT'),
        ([], 2, 'usage: python -m ssn_mm SCRIPT'),
        (['nothing.py'], 2, "error: no Python script 'nothing.py'"),
        (['mmseg::tran.py'], 2, 'did you mean train.py'),
        (['ssn_mm::benchmark.py', 'x.py'], 2, 'ssn_mm::benchmark.py is now ssn_mm::run_suite.py'),
        (['mmseg::dist_train.sh'], 2, "error: no Python script 'mmseg::dist_train.sh'"),
        (['mmnothing::train.py'], 2, "no package 'mmnothing'"),
        (['mmseg::train.py', 'mmseg::fcn/none.py'], 2, 'mmseg::fcn/none.py: no such file'),
    ],
)
def test_what_cannot_be_run_is_said(monkeypatch, capsys, arguments, code, message):
    monkeypatch.setattr(sys, 'argv', ['ssn_mm', *arguments])
    with pytest.raises(SystemExit) as stop:
        run_as_tool(main)
    assert stop.value.code == code
    assert message in ''.join(capsys.readouterr())
