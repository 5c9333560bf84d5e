"""The demos of images at every norm, at a size that takes seconds; videos have their own file."""

import re
import sys
from pathlib import Path

import pytest
import torch
from demos import next_steps
from narrow import NARROW

ROOT = Path(__file__).parents[2]
DEMO = ROOT / 'configs/demo'
NORMS = ('bn', 'gn', 'in', 'ln', 'sn', 'ssn')
LOADERS = ('train', 'val', 'test')
DEEPLAB = {
    'train_cfg.max_iters': 2,
    'train_cfg.val_interval': 2,
    'train_dataloader.batch_size': 2,
    **NARROW['deeplab'],
}
RESNET = {
    'train_cfg.max_epochs': 1,
    'train_cfg.val_interval': 1,
    'train_dataloader.batch_size': 8,
    'model.backbone.base_channels': 8,
    'model.backbone.stem_channels': 8,
    'model.head.in_channels': 32,
}
# task: options, validation's metric, ratios of SSN, checkpoint
TASKS = {
    'deeplab': (DEEPLAB, r'mIoU: ([\d.]+)', '44 of 44 ratios', 'iter_2.pth'),
    'resnet': (RESNET, r'accuracy/top1: ([\d.]+)', '30 of 30 ratios', 'epoch_1.pth'),
}


@pytest.fixture(scope='module', params=TASKS)
def trained(request, tmp_path_factory, train_in_turn):
    """A task, the folder of its finished demos, and what each said."""
    task = request.param
    folder = tmp_path_factory.mktemp(task)
    options = dict(TASKS[task][0])
    for loader in LOADERS:
        options[f'{loader}_dataloader.num_workers'] = 0
        options[f'{loader}_dataloader.persistent_workers'] = False
        data = {'data_root': folder / 'data', 'num_train': 16, 'num_val': 10}
        options |= {f'{loader}_dataloader.dataset.{k}': v for k, v in data.items()}
    said = train_in_turn(folder, [DEMO / f'{task}_{norm}_digits.py' for norm in NORMS], options)
    return task, folder, dict(zip(NORMS, said, strict=True))


def test_there_is_a_demo_for_every_task_and_norm():
    names = {f'{task}_{norm}_digits' for task in (*TASKS, 'i3d') for norm in NORMS}
    assert {path.stem for path in DEMO.glob('[!_]*_digits.py')} == names


def test_every_demo_trains_and_validates_and_ssn_alone_selects(trained):
    task, folder, said = trained
    _, metric, ratios, checkpoint = TASKS[task]
    for norm in NORMS:
        assert 0 <= float(re.findall(metric, said[norm])[-1]) <= 100
        assert (folder / f'work_dirs/{task}_{norm}_digits' / checkpoint).is_file()
        assert (ratios in said[norm]) == (norm == 'ssn')


def test_the_commands_that_a_training_ends_with_work(trained, run_tool):
    task, folder, said = trained
    if task == 'deeplab':
        return  # test_trainings.py has it
    metric = TASKS[task][1]
    steps = next_steps(said['ssn'])
    shown = folder / 'shown'
    code, tested = run_tool(
        sys.executable, ROOT / 'tools/test.py', *steps['test.py'], '--show-dir', shown, cwd=folder
    )
    assert code == 0, tested[-3000:]
    assert re.findall(metric, tested)[-1] == re.findall(metric, said['ssn'])[-1]
    assert len(list(shown.rglob('*.png'))) == 10
    onnx = ['--onnx', 'resnet.onnx'] if torch.__version__ >= (2, 8) else []  # see docs/deploy.md
    more = {'deploy.py': [*onnx, '--verify', '4', '--seconds', '0']}
    for tool in ('analysis_tools/plot_ratios.py', 'deploy.py'):
        arguments = [*steps[tool], *more.get(tool, [])]
        code, output = run_tool(sys.executable, ROOT / 'tools' / tool, *arguments, cwd=folder)
        assert code == 0, output[-3000:]
    assert '15 SSN layers, ' in output
    assert 'On 4 test samples' in output
    for network in ('frozen', 'folded', 'program', *(['onnx'] if onnx else [])):
        assert re.search(rf'{network} +\| +\S+ \| +4 of 4 ', output), output
    assert 'One input (1, 3, 64, 64)' in output
