import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ssn_mm.analysis.suite import read_suite
from ssn_mm.analysis.suite_report import make_table
from ssn_mm.analysis.suite_run import read_result, run_suite

# in the place of tools/train.py: validates twice, the seed's square is reached; fails if told to
TRAINER = """
import json, sys, time
from pathlib import Path
config, _, folder, _, *options = sys.argv[1:]
options = dict(option.split('=') for option in options)
exec(Path(config).read_text())
logs = Path(folder) / '20260101_000000/vis_data'
logs.mkdir(parents=True)
for step in (1, 2):
    print('step', step, flush=True)
    time.sleep(float(options.get('pause', 0)))
    if options.get('fail') == 'True' and step == 2:
        raise RuntimeError('the loss is NaN')
    value = base + float(options.get('more', 0)) + int(options['randomness.seed']) ** 2 * step / 2
    with (logs / 'scalars.json').open('a') as file:
        file.write(json.dumps(dict(acc=value, step=step)) + '\\n')
"""
DRIVER = """
import sys
from pathlib import Path
from ssn_mm.analysis.suite import read_suite
from ssn_mm.analysis.suite_run import run_suite
run_suite(read_suite(sys.argv[1]), Path(sys.argv[2]), [sys.executable, sys.argv[3]], jobs=2)
"""


@pytest.fixture
def suite(tmp_path):
    """Writes a suite of two configs; returns how to read it with changes."""
    (tmp_path / 'train.py').write_text(TRAINER)
    for name, base in dict(bn=10, ssn=20).items():
        (tmp_path / f'{name}.py').write_text(f'base = {base}\n')

    def write(**changes):
        stated = dict(
            title='A grid', configs=dict(BN='bn.py', SSN='ssn.py'), seeds=[0, 1, 2], metric='acc'
        )
        stated |= changes
        lines = [f'{key} = {value!r}' for key, value in stated.items() if value is not None]
        (tmp_path / 'grid.py').write_text('\n'.join(lines))
        return read_suite(tmp_path / 'grid.py')

    return write


def go(suite, tmp_path, folder='runs', **options):
    return run_suite(suite, tmp_path / folder, [sys.executable, tmp_path / 'train.py'], **options)


def reached(results):
    return {result['run']: result['value'] for result in results if result['status'] == 'done'}


def test_the_grid_is_trained_and_what_is_done_is_not_repeated(suite, tmp_path):
    grid = suite(
        variants={'small': {'more': 0}, 'large batch': {'more': 5}},
        seeds=[1, 2],
        paper={'BN': 76.4},
    )
    results = go(grid, tmp_path, jobs=4)
    assert reached(results) == {
        'BN-small-seed1': 11,
        'BN-small-seed2': 14,
        'BN-large_batch-seed1': 16,
        'BN-large_batch-seed2': 19,
        'SSN-small-seed1': 21,
        'SSN-small-seed2': 24,
        'SSN-large_batch-seed1': 26,
        'SSN-large_batch-seed2': 29,
    }
    files = sorted((tmp_path / 'runs').glob('*/result.json'))
    before = [file.stat().st_mtime_ns for file in files]
    assert go(grid, tmp_path) == results
    assert [file.stat().st_mtime_ns for file in files] == before
    assert '| BN, small ' in make_table(grid, results)
    assert '12.50 ± 2.12' in make_table(grid, results)


def test_a_run_that_fails_is_recorded_the_others_go_on_and_it_is_tried_again(suite, tmp_path):
    grid = suite(variants={'good': {}, 'bad': {'fail': True}}, seeds=[1], configs=dict(BN='bn.py'))
    states = []
    results = go(grid, tmp_path, tell=states.append)
    assert states[-1] == {'BN-good-seed1': 'done', 'BN-bad-seed1': 'failed'}
    failed = results[1]
    assert failed['error'] == 'exit code 1'
    assert failed['last_lines'][-1] == 'RuntimeError: the loss is NaN'
    (tmp_path / 'train.py').write_text(TRAINER.replace('raise RuntimeError', 'print'))
    assert len(reached(go(grid, tmp_path))) == 2


def test_results_of_another_version_are_refused_rerun_or_told(suite, tmp_path):
    grid = suite(seeds=[1])
    go(grid, tmp_path)
    (tmp_path / 'bn.py').write_text('base = 50\n')
    with pytest.raises(ValueError, match=r'1 results .* BN-seed1 \(config \w+ then, \w+ now\)'):
        go(grid, tmp_path)
    kept = go(grid, tmp_path, stale='keep')
    assert [result['kept'] for result in kept] == [True, False]
    assert reached(kept)['BN-seed1'] == 11
    assert reached(go(grid, tmp_path, stale='rerun'))['BN-seed1'] == 51
    assert reached(go(grid, tmp_path))['BN-seed1'] == 51


def test_a_table_of_several_versions_says_so(suite, tmp_path):
    grid = suite(seeds=[1, 2], configs=dict(BN='bn.py'))
    results = go(grid, tmp_path)
    assert 'versions' not in make_table(grid, results)
    results[0]['fingerprint'] = results[0]['fingerprint'] | dict(code='other')
    assert 'These results are of 2 versions of code.' in make_table(grid, results)
    results[0]['data'] = 'other'
    assert 'data that changed between the runs' in make_table(grid, results)


def test_a_suite_stopped_by_ctrl_c_and_by_kill_ends_as_an_undisturbed_one(suite, tmp_path):
    undisturbed = reached(go(suite(), tmp_path, 'undisturbed', jobs=3))
    grid = suite(options={'pause': 0.6})
    command = [sys.executable, '-c', DRIVER, tmp_path / 'grid.py', tmp_path / 'runs']
    command = [str(part) for part in (*command, tmp_path / 'train.py')]

    def running():
        return list((tmp_path / 'runs').glob('*/20260101_000000'))

    for stop in (signal.SIGINT, signal.SIGKILL):
        before = len(running())
        process = subprocess.Popen(
            command,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(2, signal.default_int_handler),
        )
        limit = time.monotonic() + 60
        while len(running()) <= before and time.monotonic() < limit:
            time.sleep(0.05)
        assert len(running()) > before
        if stop == signal.SIGINT:
            os.killpg(process.pid, stop)  # as a terminal sends it
        else:
            process.kill()
        assert process.wait(30) != 0
    results = go(grid, tmp_path, jobs=3)
    assert reached(results) == undisturbed
    for result in results:
        (log,) = (tmp_path / 'runs' / result['run']).glob('*/vis_data/scalars.json')
        assert [json.loads(line)['step'] for line in log.open()] == [1, 2]


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(metric=None), 'says no metric'),
        (dict(wheels=4), 'says wheels, which no suite has'),
        (dict(seeds=[]), r'seeds must be a list with content, got \[\]'),
        (dict(configs=dict(BN='gone.py')), r'configs that are not there: .*gone\.py'),
        (dict(configs={'B N': 'bn.py', 'B_N': 'ssn.py'}), 'several runs would be called B_N-seed0'),
    ],
)
def test_a_wrong_suite_is_refused(suite, changes, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        suite(**changes)


def test_a_missing_suite_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match='configs/suites'):
        read_suite(tmp_path / 'none.py')
    assert read_result(Path(tmp_path)) is None
