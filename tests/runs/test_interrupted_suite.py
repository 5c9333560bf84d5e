"""A suite of real trainings, stopped twice."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MEASURED = (
    'metrics',
    'curves',
    'ratios',
    'trained',
    'provenance',
    'data',
)  # what no interruption may change


def write_suite(folder, norms):
    """Demos cut down to seconds."""
    sizes = dict(data_root=str(folder / 'ade'), num_train=10, num_val=4)
    options = {f'{loader}_dataloader.dataset': sizes for loader in ('train', 'val', 'test')}
    for loader in ('train', 'val', 'test'):
        options[f'{loader}_dataloader'] = dict(num_workers=0, persistent_workers=False)
    options |= {
        'model.backbone': dict(base_channels=8, stem_channels=8),
        'model.decode_head': dict(channels=8, in_channels=64),
        'model.auxiliary_head': dict(channels=8, in_channels=32),
        'train_dataloader.batch_size': 2,
        'train_cfg': dict(max_iters=6, val_interval=3),
        'default_hooks.logger.interval': 1,
    }
    names = {n.upper(): str(ROOT / f'configs/demo/deeplab_{n}_digits.py') for n in norms}
    stated = dict(title='Two', configs=names, seeds=[0], metrics=['mIoU'], options=options)
    (folder / 'two.json').write_text(json.dumps(stated))
    return folder / 'two.json'


def command(suite, work_dir):
    return [str(ROOT / 'tools/run_suite.py'), str(suite), '--work-dir', str(work_dir)]


def start(suite, work_dir):
    return subprocess.Popen(
        [sys.executable, *command(suite, work_dir)],
        cwd=suite.parent, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        # a shell that puts pytest into the background has it and its children ignore Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


def finish(run_script, suite, work_dir):
    """Starts, waits; returns what each run measured, and the output."""
    code, output = run_script(*command(suite, work_dir), cwd=suite.parent)
    assert code == 0, output[-3000:]
    found = {}
    for file in (work_dir / 'two').glob('*/result.json'):
        result = json.loads(file.read_text())
        found[result['run']] = {key: result[key] for key in MEASURED}
    return found, output


def wait_for(process, folder, pattern):
    deadline = time.monotonic() + 200
    while not list(folder.glob(pattern)):
        assert process.poll() is None, process.communicate()[0][-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize('killed', [False, pytest.param(True, marks=pytest.mark.long)])
def test_a_suite_stopped_by_ctrl_c_and_by_kill_reaches_what_an_undisturbed_one_does(
    tmp_path, run_script, killed
):
    suite = write_suite(tmp_path, ('ssn', 'bn') if killed else ('ssn',))
    undisturbed, _ = finish(run_script, suite, tmp_path / 'undisturbed')
    runs = tmp_path / 'runs'
    process = start(suite, runs)
    wait_for(process, runs, 'two/SSN-seed0/*/vis_data/scalars.json')  # it trains
    os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it
    assert process.wait(60) == 130
    assert not list(runs.glob('two/*/result.json'))
    if killed:
        process = start(suite, runs)
        wait_for(process, runs, 'two/SSN-seed0/result.json')
        process.kill()
        process.wait(60)
    ended, output = finish(run_script, suite, runs)
    assert set(ended) == {'SSN-seed0', 'BN-seed0'} if killed else {'SSN-seed0'}
    assert ended == undisturbed
    assert ('SSN-seed0: done' in output) != killed, 'it was done before'
