"""What tools print can be pasted: in a folder with a space, the package from its wheel."""

import os
import subprocess
import sys

import pytest
from demos import next_steps

CONFIG = "_base_ = 'ssn_mm::demo/resnet_ssn_digits.py'\n"
SMALL = {
    'dataset.data_root': 'the data',
    'dataset.num_train': 20,
    'dataset.num_val': 10,
    'num_workers': 0,
    'persistent_workers': False,
    'batch_size': 10,
}
LOADERS = ('train', 'val', 'test')
WORK_DIR = "-it's a run (ü)"


@pytest.fixture(scope='module')
def site(tmp_path_factory, wheel_and_sdist):
    """The environment of an interpreter that has the package from its wheel."""
    folder = tmp_path_factory.mktemp('installed') / 'site packages'
    install = [sys.executable, '-m', 'pip', 'install', '--no-deps', '--no-compile', '--target']
    subprocess.run([*install, str(folder), str(wheel_and_sdist[0])], check=True)
    return os.environ | {'PYTHONPATH': str(folder)}


@pytest.fixture(scope='module')
def trained(tmp_path_factory, site):
    """The folder of a training from the wheel, and the commands that it ends with."""
    folder = tmp_path_factory.mktemp('trained') / 'a folder'
    folder.mkdir()
    (folder / 'my config.py').write_text(CONFIG)
    options = [f'{name}_dataloader.{key}={SMALL[key]}' for name in LOADERS for key in SMALL]
    tool = [sys.executable, '-m', 'ssn_mm', 'ssn_mm::train.py', 'my config.py']
    more = ['train_cfg.max_epochs=1', 'default_hooks.logger.interval=1', *options]
    done = run([*tool, f'--work-dir={WORK_DIR}', '--cfg-options', *more], folder, site)
    return folder, dict(zip(next_steps(done), done.strip().splitlines()[-3:], strict=True))


def run(command, folder, site):
    done = subprocess.run(command, cwd=folder, env=site, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize(
    ('tool', 'writes'),
    [
        ('test.py', 'my config.py'),
        ('analysis_tools/plot_ratios.py', 'figures/network.png'),
        pytest.param('deploy.py', 'epoch_1.pt2', marks=pytest.mark.long),
    ],
)
def test_every_command_that_a_training_from_the_wheel_ends_with_runs(trained, site, tool, writes):
    folder, commands = trained
    assert list(commands) == ['test.py', 'analysis_tools/plot_ratios.py', 'deploy.py']
    run(['bash', '-c', commands[tool]], folder, site)
    assert (folder / WORK_DIR / writes).is_file()
    assert (folder / WORK_DIR / 'epoch_1.pth').is_file()
