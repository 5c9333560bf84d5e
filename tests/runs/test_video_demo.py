"""The video demos, run as a user runs them, at a size that takes seconds."""

import re
import sys
from pathlib import Path

import pytest
import torch
from demos import next_steps

from ssn_mm.cli.config import load_config
from ssn_mm.cli.deploy import Wanted, deploy
from ssn_mm.cli.test import evaluate
from ssn_mm.deploy import OnnxProgram

pytestmark = pytest.mark.mmaction


ROOT = Path(__file__).parents[2]
DEMO = ROOT / 'configs/demo'
NORMS = ('bn', 'gn', 'in', 'ln', 'sn', 'ssn')
LOADERS = ('train', 'val', 'test')
SMALL = {
    'model.backbone.base_channels': 8,
    'model.cls_head.in_channels': 64,
    'train_dataloader.batch_size': 2,
    'train_cfg.max_iters': 2,
    'train_cfg.val_interval': 2,
    **{f'{loader}_dataloader.num_workers': 0 for loader in LOADERS},
    **{f'{loader}_dataloader.persistent_workers': False for loader in LOADERS},
}


@pytest.fixture(scope='module')
def options(tmp_path_factory):
    """Overrides of a demo that takes seconds; all demos share one dataset."""
    data = {'data_root': str(tmp_path_factory.mktemp('digits') / 'kinetics')}
    data |= {'num_train': 8, 'num_val': 8}
    own = {f'{loader}_dataloader.dataset.{k}': v for loader in LOADERS for k, v in data.items()}
    return {**SMALL, **own}


@pytest.fixture(scope='module')
def trained(options, tmp_path_factory, train_in_turn):
    """The folder of finished demos, and what each said."""
    folder = tmp_path_factory.mktemp('demos')
    said = train_in_turn(folder, [DEMO / f'i3d_{norm}_digits.py' for norm in NORMS], options)
    return folder, dict(zip(NORMS, said, strict=True))


def top1(output):
    return float(re.findall(r'acc/top1: ([\d.]+)', output)[-1])


@pytest.mark.parametrize('norm', NORMS)
def test_a_demo_trains_and_validates(trained, norm):
    folder, said = trained
    assert 0 <= top1(said[norm]) <= 1
    assert (folder / f'work_dirs/i3d_{norm}_digits/iter_2.pth').is_file()
    own = f'work_dirs/i3d_{norm}_digits'
    steps = next_steps(said[norm])
    assert steps['test.py'] == [f'{own}/i3d_{norm}_digits.py', f'{own}/iter_2.pth']


def test_ssn_alone_selects_and_selects_everywhere(trained):
    _, said = trained
    assert [norm for norm in NORMS if 'SSN layers) are selected' in said[norm]] == ['ssn']
    assert '40 of 40 ratios' in said['ssn']


def test_testing_repeats_the_last_validation(trained, options, run_tool):
    folder, said = trained
    overrides = [f'{key}={value}' for key, value in options.items()]
    code, tested = run_tool(
        sys.executable, ROOT / 'tools/test.py', DEMO / 'i3d_ssn_digits.py',
        folder / 'work_dirs/i3d_ssn_digits/iter_2.pth', '--out', folder / 'scores.pkl',
        '--cfg-options', *overrides,
    )  # fmt: skip
    assert code == 0, tested[-3000:]
    assert top1(tested) == top1(said['ssn'])
    assert (folder / 'scores.pkl').is_file()


@pytest.mark.parametrize(
    ('flag', 'missing'),
    [
        ({'tta': True}, '--tta needs tta_pipeline and tta_model'),
        ({'show_dir': 'shown'}, '--show-dir needs default_hooks.visualization'),
    ],
)
def test_what_the_videos_cannot_do_is_said_before_anything_is_built(trained, flag, missing):
    folder, _ = trained
    cfg = load_config(str(DEMO / 'i3d_ssn_digits.py'), str(folder / 'test'))
    with pytest.raises(ValueError, match=missing):
        evaluate(cfg, str(folder / 'work_dirs/i3d_ssn_digits/iter_2.pth'), **flag)
    assert not (folder / 'test').exists()


def test_the_trained_model_deploys_as_a_program_that_scores_clips(trained, tmp_path):
    folder, _ = trained
    run = folder / 'work_dirs/i3d_ssn_digits'
    cfg = load_config(str(run / 'i3d_ssn_digits.py'))  # with the overrides of the training
    with pytest.raises(ValueError, match=r'--shape FRAMES HEIGHT WIDTH, got \(32, 32\)'):
        deploy(cfg, str(run / 'iter_2.pth'), tmp_path / 'i3d.pt2', (32, 32))
    onnx = tmp_path / 'i3d.onnx'  # as large as its test's clips
    deploy(cfg, str(run / 'iter_2.pth'), tmp_path / 'i3d.pt2', wanted=Wanted(onnx)).verify(2)
    clips = torch.randn(1, 3, 3, 8, 48, 32)
    program = torch.export.load(str(tmp_path / 'i3d.pt2')).module()
    torch.testing.assert_close(OnnxProgram(onnx)(clips), program(clips), rtol=1e-3, atol=1e-4)
