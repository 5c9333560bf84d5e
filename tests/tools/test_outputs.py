"""No tool writes over what it reads."""

import io
import json
import sys
from pathlib import Path

import pytest
import torch

from ssn_mm.cli.config import load_config
from ssn_mm.publish.configs import build_network

ROOT = Path(__file__).parents[2]
DEMO = ROOT / 'configs/demo/resnet_ssn_digits.py'


@pytest.fixture(scope='module')
def net():
    """Weights that fit, and the config as JSON."""
    cfg, file = load_config(DEMO), io.BytesIO()
    torch.save(dict(state_dict=build_network(cfg, trust=True).state_dict()), file)
    return file.getvalue(), json.dumps(cfg.to_dict())


@pytest.fixture
def files(tmp_path, net):
    """A folder with a config and a checkpoint, which are read in vain where a check comes late."""
    (tmp_path / 'base.py').write_text(f'_base_ = {str(DEMO)!r}\n')
    (tmp_path / 'mine.py').write_text("_base_ = 'base.py'\n")
    (tmp_path / 'net.pth').write_bytes(net[0])
    (tmp_path / 'predictions.json').write_text(net[1])
    (tmp_path / 'start.pth').write_bytes(b'start')
    (tmp_path / 'picture.png').touch()
    torch.save(dict(state_dict=dict(weight=torch.zeros(1)), meta={}), tmp_path / 'iter_8.pth')
    (tmp_path / 'link.pth').symlink_to('iter_8.pth')
    (tmp_path / 'iter_8.frozen.pth').hardlink_to(tmp_path / 'iter_8.pth')
    return tmp_path


def bytes_of(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob('*') if p.is_file()}


DEPLOY = ['deploy.py', 'mine.py', 'iter_8.pth']
RECALIBRATE = ['recalibrate.py', 'mine.py', 'iter_8.pth', '--work-dir', 'run']


@pytest.mark.parametrize(
    ('command', 'message'),
    [
        ([*DEPLOY, '--out', 'iter_8.pth'], 'would overwrite'),
        ([*DEPLOY, '--out', './link.pth'], 'would overwrite'),
        ([*DEPLOY, '--out', 'mine.py'], 'would overwrite'),
        ([*DEPLOY, '--out', 'base.py'], 'would overwrite'),
        ([*DEPLOY, '--out', 'iter_8.pt2'], 'iter_8.frozen.pth would overwrite iter_8.pth'),
        ([*DEPLOY, '--out', 'a.pt2', '--onnx', 'iter_8.pth'], 'would overwrite'),
        ([*DEPLOY, '--out', 'a.pt2', '--onnx', 'a.pt2'], 'would be written to one file'),
        ([*DEPLOY, '--out', 'a.pt2', '--onnx', 'a.frozen.pth'], 'would be written to one file'),
        ([*DEPLOY, '--out', 'a.bin', '--openvino', 'a.xml'], 'would be written to one file'),
        ([*DEPLOY, '--openvino', 'a.onnx'], '--openvino writes an .xml file'),
        ([*DEPLOY, '--out', '.'], 'is a folder'),
        ([*DEPLOY, '--out', 'mine.py/a.pt2'], 'is a file, so nothing can be written to'),
        ([*RECALIBRATE, '--out', 'iter_8.frozen.pth'], 'would overwrite'),
        ([*RECALIBRATE, '--out', 'mine.py'], 'would overwrite'),
        (
            [*RECALIBRATE, '--out', 'start.pth', '--cfg-options', 'load_from=start.pth'],
            'would overwrite',
        ),
        (
            ['infer.py', 'predictions.json', 'net.pth', 'picture.png', '--out', '.'],
            'would overwrite',
        ),
        (['check_data.py', 'mine.py', '--json', 'base.py'], 'would overwrite'),
        ([*RECALIBRATE, '--out', 'a.pth', '--in-place'], 'leave out a.pth'),
        (['model_converters/convert.py', 'mine.py', 'iter_8.pth', 'link.pth'], 'would overwrite'),
        (['test.py', 'mine.py', 'iter_8.pth', '--out', 'iter_8.pth'], 'pickled predictions, .pkl'),
        (['check_data.py', 'mine.py', '--json', 'mine.py'], 'would overwrite'),
        (
            ['publish_model.py', 'iter_8.pth', '--config', 'mine.py', '--out', '.', '--force'],
            'would delete',
        ),
        (
            ['train.py', 'mine.py', '--work-dir', '.', '--cfg-options', 'load_from=epoch_1.pth'],
            'would write over epoch_1.pth',
        ),
        (['train.py', 'mine.py', '--work-dir', 'mine.py'], 'is a file, so nothing can be written'),
    ],
    ids=lambda value: ' '.join(value) if isinstance(value, list) else '',
)
def test_no_tool_writes_over_what_it_reads(files, run_tool, command, message):
    (files / 'epoch_1.pth').write_bytes(b'start')
    data = [f'{loader}_dataloader.dataset.data_root=digits' for loader in ('train', 'val', 'test')]
    if command[0] in ('train.py', 'test.py', 'check_data.py', 'recalibrate.py'):
        command = [*command, *([] if '--cfg-options' in command else ['--cfg-options']), *data]
    before = bytes_of(files)
    code, output = run_tool(sys.executable, ROOT / 'tools' / command[0], *command[1:])
    assert code == 2, output[-3000:]
    assert message in output
    assert 'Traceback' not in output
    assert bytes_of(files) == before
