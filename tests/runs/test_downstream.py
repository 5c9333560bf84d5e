"""The project of docs/downstream, copied out of the repository and run by its page's commands."""

import json
import re
import shutil
import sys
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import HOOKS

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


def test_the_downstream_project_trains_and_tests_by_its_pages_commands(run_tool, tmp_path):
    for name in ('shapes.py', 'deeplab_shapes.py'):
        shutil.copy(HERE / name, tmp_path)
    block = re.search(r'```bash\n(.*?)```', (HERE / 'README.md').read_text(), re.DOTALL)
    commands = [line.split() for line in block[1].replace('iter_2000', 'iter_2').splitlines()]
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
    for name in ('shapes.py', 'deeplab_shapes.py'):
        shutil.copy(HERE / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    cfg = Config.fromfile('deeplab_shapes.py')
    hook = HOOKS.build(cfg.custom_hooks[0])
    assert [hook.schedule(p) for p in (0, 0.5, 1)] == [0, 0.25, 1]
