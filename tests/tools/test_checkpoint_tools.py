"""Tools that make checkpoints of checkpoints, in this process: others would mostly import."""

import itertools
import os
import re
import runpy
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
DEMO = ROOT / 'configs/demo/resnet_ssn_digits.py'
runs = itertools.count()


@pytest.fixture(scope='module')
def tool():
    """Runs a tool; returns its exit code."""
    patch = pytest.MonkeyPatch()
    patch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1')  # which every tool sets, put back here

    def run(name, folder, *arguments, options=()):
        data = [
            f'{loader}_dataloader.{key}={value}'
            for loader in ('train', 'val', 'test')
            for key, value in {
                'dataset.data_root': folder / 'digits',
                'dataset.num_train': 20,
                'dataset.num_val': 10,
                'num_workers': 0,
                'persistent_workers': False,
                'batch_size': 4,
            }.items()
        ]
        more = [f'experiment_name=run{next(runs)}', *data, *options]
        command = [name, *arguments]
        if name in ('train.py', 'test.py', 'recalibrate.py'):
            command += ['--work-dir', folder / 'run', '--cfg-options', *more]
        patch.setattr(sys, 'argv', [str(word) for word in command])
        patch.chdir(folder)
        try:
            runpy.run_path(str(ROOT / 'tools' / name), run_name='__main__')
        except SystemExit as error:
            return error.code or 0  # None is success, too
        return 0

    yield run
    patch.undo()


@pytest.fixture(scope='module')
def trained(tool, tmp_path_factory):
    """A folder with a trained demo."""
    folder = tmp_path_factory.mktemp('demo')
    small = ['train_cfg.max_epochs=2', 'default_hooks.checkpoint.interval=1']
    assert tool('train.py', folder, DEMO, options=small) == 0
    return folder


def test_the_tool_writes_a_checkpoint_that_tests_and_differs_in_statistics_alone(
    tool, trained, capsys
):
    file = trained / 'run/epoch_2.pth'
    assert tool('recalibrate.py', trained, DEMO, file, '--num-batches', '3') == 0
    out = file.with_suffix('.recalibrated.pth')
    assert f'layers recalibrated, written to {out}' in capsys.readouterr().out
    old, new = (torch.load(f, weights_only=True) for f in (file, out))
    assert old.keys() == new.keys()
    changed = {k for k, v in old['state_dict'].items() if not torch.equal(v, new['state_dict'][k])}
    assert changed
    assert {key.rpartition('.')[2] for key in changed} == {'running_mean', 'running_var'}
    assert tool('test.py', trained, DEMO, out) == 0
    assert 'accuracy/top1' in capsys.readouterr().out


@pytest.mark.parametrize(
    'tool_name', ['test.py', 'deploy.py', 'recalibrate.py', 'infer.py', 'publish_model.py']
)
@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('another.pth', None, 'another.pth is of another network: '),
        ('list.pth', [1, 2], 'list.pth is no checkpoint: it holds a list'),
        ('text.pth', b'version https://git-lfs.github.com/spec/v1', "begins with b'version https"),
        ('folder.pth', '', "folder.pth', which is a folder"),
    ],
)
def test_no_tool_takes_what_is_no_checkpoint_or_of_another_network(
    tool, trained, tmp_path, capsys, tool_name, name, content, message
):
    file = tmp_path / name
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content == '':
        file.mkdir()
    elif content is not None:
        torch.save(content, file)
    else:
        stored = torch.load(trained / 'run/epoch_1.pth', weights_only=True)
        stored['state_dict'].pop('head.fc.weight')
        torch.save(stored, file)
    command = [file, '--config', DEMO] if tool_name == 'publish_model.py' else [DEMO, file]
    command += ['none.png'] if tool_name == 'infer.py' else []
    assert tool(tool_name, trained, *command) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [file]


def test_an_interrupted_tool_leaves_no_file_and_the_old_one_as_it_was(tool, trained, monkeypatch):
    file, out = trained / 'run/epoch_1.pth', trained / 'run/new.pth'
    before, there = file.read_bytes(), set(file.parent.glob('*.pth'))

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, 'fsync', interrupt)  # while the file is being written
    for target in (['--out', out], ['--in-place']):
        command = [DEMO, file, '--num-batches', '1', *target]
        assert tool('recalibrate.py', trained, *command) == 130
        assert file.read_bytes() == before
        assert {*file.parent.glob('*.pth'), *file.parent.glob('.*')} == there


@pytest.mark.parametrize(
    ('arguments', 'options', 'message'),
    [
        (['--num-batches', '0'], [], 'num_batches must be at least 1, got 0'),
        ([], ['model.backbone.depth=34'], 'epoch_1.pth is of another network: '),
        (
            [],
            ['model.backbone.norm_eval=True'],
            'no layer of {file} uses batch norm in training, so it has no statistics to',
        ),
    ],
)
def test_what_cannot_be_recalibrated_is_said_so_and_nothing_is_written(
    tool, trained, capsys, arguments, options, message
):
    file, out = trained / 'run/epoch_1.pth', trained / 'none.pth'
    command = [DEMO, file, *arguments, '--out', out]
    assert tool('recalibrate.py', trained, *command, options=options) == 2
    assert message.format(file=file) in capsys.readouterr().err
    assert not out.exists()


def test_statistics_go_into_the_checkpoint_itself_when_told_to(tool, trained, tmp_path, capsys):
    file = tmp_path / 'epoch_1.pth'
    file.write_bytes((trained / 'run/epoch_1.pth').read_bytes())
    before = file.read_bytes()
    command = [DEMO, file, '--num-batches', '1']
    assert tool('recalibrate.py', trained, *command, '--out', file) == 2
    assert f'{file} would overwrite {file}' in capsys.readouterr().err
    assert file.read_bytes() == before
    assert tool('recalibrate.py', trained, *command, '--in-place') == 0
    assert file.read_bytes() != before
    assert [path.name for path in tmp_path.iterdir()] == ['epoch_1.pth']


def test_what_is_published_tests_as_what_was_trained(tool, trained, capsys):
    pytest.importorskip('safetensors')

    def accuracy(file):
        assert tool('test.py', trained, DEMO, file) == 0
        return re.findall(r'accuracy/top1: ([\d.]+)', capsys.readouterr().out)[-1]

    file = trained / 'run/epoch_2.pth'
    expected = accuracy(file)
    options = ['--format', 'safetensors', '--out', trained / 'given', '--metrics', 'top-1=50']
    assert tool('publish_model.py', trained, file, *options) == 0
    assert 'given has README.md, config.json, metafile.yml, run-' in capsys.readouterr().out
    (weights,) = (trained / 'given').glob('run-*.safetensors')
    assert weights.stat().st_size < file.stat().st_size / 2  # AdamW keeps two numbers a weight
    assert accuracy(weights) == expected
    assert tool('publish_model.py', trained, file, '--metrics', 'top-1=good') == 2
    assert "NAME=NUMBER or a JSON file of numbers, got 'top-1=good'" in capsys.readouterr().err
    assert not (trained / 'published').exists()
