"""The project of docs/downstream, copied out of the repository and run by its page's commands."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import HOOKS

from ssn_mm.suites.suite import read_suite

HERE = Path(__file__).parents[2] / 'docs' / 'downstream'
SMALL = [
    '--cfg-options',
    'train_cfg.max_iters=2',
    'train_dataloader.batch_size=2',
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
    'val_dataloader.num_workers=0',
    'val_dataloader.persistent_workers=False',
    'test_dataloader.num_workers=0',
    'test_dataloader.persistent_workers=False',
    'model.backbone.depth=18',
    'model.decode_head.in_channels=512',
    'model.decode_head.channels=32',
    'model.auxiliary_head.in_channels=256',
    'model.auxiliary_head.channels=32',
]


def copy_project(folder):
    for file in HERE.glob('*.py'):
        shutil.copy(file, folder)


def commands_of(page):
    """The words of each line of a page's first block of commands."""
    block = re.search(r'```bash\n(.*?)```', page, re.DOTALL)
    return [line.partition('#')[0].split() for line in block[1].splitlines()]


def test_the_downstream_project_trains_and_tests_by_its_pages_commands(run_tool, tmp_path):
    copy_project(tmp_path)
    commands = commands_of((HERE / 'README.md').read_text().replace('iter_2000', 'iter_2'))
    assert [command[0] for command in commands] == ['python'] * 3
    outputs = []
    for command in commands:
        small = SMALL if 'deeplab_shapes.py' in command else []
        code, output = run_tool(sys.executable, *command[1:], *small)
        assert code == 0, output[-3000:]
        outputs.append(output)
    _, trained, tested = outputs
    assert re.search(r'(\d+) of \1 ratios', trained)
    assert re.findall(r'mIoU: ([\d.]+)', tested)[-1] == re.findall(r'mIoU: ([\d.]+)', trained)[-1]
    run = tmp_path / 'work_dirs/deeplab_shapes'
    assert "type='ShapesDataset'" in (run / 'deeplab_shapes.py').read_text()
    header, *_ = (json.loads(line) for line in (run / 'ssn_ratios.jsonl').open())
    assert header['normalizers'] == [['IN', 'BN', 'GN']] * len(header['layers'])
    assert len(header['layers']) == 22
    state = torch.load(run / 'iter_2.pth', weights_only=False)['state_dict']
    assert state['decode_head.conv_seg.weight'].shape == (3, 32, 1, 1)


def test_the_downstream_schedule_is_the_projects_own(tmp_path, monkeypatch):
    copy_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    cfg = Config.fromfile('deeplab_shapes.py')
    hook = HOOKS.build(cfg.custom_hooks[0])
    assert [hook.schedule(p) for p in (0, 0.5, 1)] == [0, 0.25, 1]


def test_the_configs_of_the_downstream_suite_differ_in_their_norm_alone(tmp_path, monkeypatch):
    copy_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    suite = read_suite('suite_shapes.py')
    assert [run.name for run in suite.runs[:2]] == ['SSN-seed0', 'BN-seed0']
    assert len(suite.runs) == 6
    ssn, bn = (Config.fromfile(run.config).to_dict() for run in suite.runs[:2])
    for cfg, norm in ((ssn, 'SSN'), (bn, 'BN')):
        for part in ('backbone', 'decode_head', 'auxiliary_head'):
            own = cfg['model'][part].pop('norm_cfg')
            assert own['type'] == norm
            assert norm == 'SSN' or own == dict(type='BN')
        for name in ('norm', 'head', 'custom_hooks', 'work_dir'):
            del cfg[name]
    assert ssn == bn


@pytest.mark.long
def test_the_downstream_suite_runs_and_is_reported_by_its_pages_commands(run_alone, tmp_path):
    copy_project(tmp_path)
    page = (HERE.parent / 'experiments.md').read_text().partition('## On your own dataset')[2]
    options = dict(option.split('=') for option in SMALL[1:])
    options = {key: int(v) if v.isdigit() else v == 'True' for key, v in options.items()}
    with (tmp_path / 'suite_shapes.py').open('a') as file:
        file.write(f'seeds = [0, 1]\noptions = {options!r}\n')
    outputs = []
    for command in commands_of(page):
        code, output = run_alone(sys.executable, *command[1:])
        assert code == 0, output[-3000:]
        outputs.append(output)
    assert len(outputs) == 3
    assert '| SSN - BN |' in outputs[1]
    report = tmp_path / 'work_dirs/suites/suite_shapes/report/report.html'
    assert 'SSN against the others' in report.read_text()
