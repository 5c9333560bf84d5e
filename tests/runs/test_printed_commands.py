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


def test_every_command_that_a_training_from_the_wheel_ends_with_runs(tmp_path, site, run_alone):
    folder = tmp_path / 'a folder'
    folder.mkdir()
    (folder / 'my config.py').write_text(CONFIG)
    options = [f'{name}_dataloader.{key}={SMALL[key]}' for name in LOADERS for key in SMALL]
    tool = [sys.executable, '-m', 'ssn_mm', 'ssn_mm::train.py']
    code, output = run_alone(
        *tool, 'my config.py', f'--work-dir={WORK_DIR}', '--cfg-options', 'train_cfg.max_epochs=1',
        'default_hooks.logger.interval=1', *options, cwd=folder, env=site,
    )  # fmt: skip
    assert code == 0, output[-3000:]
    assert list(next_steps(output)) == ['test.py', 'analysis_tools/plot_ratios.py', 'deploy.py']
    for line in output.strip().splitlines()[-3:]:
        code, said = run_alone('bash', '-c', line, cwd=folder, env=site)
        assert code == 0, said[-3000:]
    run = folder / WORK_DIR
    made = {file.name for file in run.iterdir() if file.is_file()}
    assert made >= {'my config.py', 'epoch_1.pth', 'epoch_1.pt2', 'epoch_1.frozen.pth'}
    assert (run / 'figures/network.png').is_file()
