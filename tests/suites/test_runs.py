import io
import os
import shutil
import sys

import pytest
from rich.console import Console
from suites_of_text import HERE, TRAINER, go, reached

from ssn_mm.cli.results import Norms
from ssn_mm.cli.run_suite import run_suite as run_suite_tool
from ssn_mm.suites.job import Commands, read_result
from ssn_mm.suites.plan import plan
from ssn_mm.suites.progress import Board
from ssn_mm.suites.queue import Machine
from ssn_mm.suites.results import read_results, results_of_suite
from ssn_mm.suites.runs import run_suite
from ssn_mm.suites.tables import failures, main_table, mixed, variant_table

# Slurm's commands, on this machine: a job is a process, its number that of its file
SLURM = dict(
    sbatch="""
n=$(ls "$HERE"/job-* 2>/dev/null | wc -l); cp "${!#}" "$HERE/job-$n"; echo "$@" >> "$HERE/asked"
SLURM_JOB_ID=$n nohup bash "$HERE/job-$n" > /dev/null 2>&1 &
echo "Submitted batch job $n"
""",
    srun="""
while [ "$1" != "$PYTHON" ]; do shift; done
export SLURM_NTASKS=1 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0 SLURM_JOB_NUM_NODES=1
"$@"; echo "$SLURM_JOB_ID" >> "$HERE/ended"
""",
    sacct="""
echo 'JobID|State|NodeList'
sed 's/$/|COMPLETED|here/' "$HERE/ended" 2>/dev/null || true
""",
)


def test_a_folder_without_a_run_has_no_result(tmp_path):
    assert read_result(tmp_path) is None


def test_a_folder_of_somebody_else_is_not_emptied(suite, tmp_path):
    grid = suite()
    notes = tmp_path / 'runs/SSN-seed1/notes.txt'
    notes.parent.mkdir(parents=True)
    notes.write_text('mine')
    with pytest.raises(ValueError, match=r'SSN-seed1 holds files that no run of a suite'):
        go(grid, tmp_path)
    assert [path.name for path in (tmp_path / 'runs').rglob('*')] == ['SSN-seed1', 'notes.txt']
    notes.unlink()
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data/kept.txt').write_text('mine')
    (notes.parent / '.lock').touch()  # of a run that was killed
    (notes.parent / 'link').symlink_to(tmp_path / 'data')
    assert len(reached(go(grid, tmp_path))) == 4
    assert not (notes.parent / 'link').is_symlink()
    assert (tmp_path / 'data/kept.txt').read_text() == 'mine'
    (tmp_path / 'files').mkdir()
    (tmp_path / 'files/BN-seed0').write_text('mine')
    with pytest.raises(ValueError, match='BN-seed0 is a file'):
        go(grid, tmp_path, folder='files')


def test_the_grid_is_trained_seed_by_seed_and_what_is_done_is_not_repeated(suite, tmp_path):
    variants = {'small': {'more': 0}, 'large batch': {'more': 5}}
    grid = suite(variants=variants, seeds=[1, 2], paper={'BN, small': 76.4})
    rows = go(grid, tmp_path)
    expected = {
        'BN-small-seed1': 11,
        'SSN-small-seed1': 21,
        'BN-large_batch-seed1': 16,
        'SSN-large_batch-seed1': 26,
        'BN-small-seed2': 14,
        'SSN-small-seed2': 24,
        'BN-large_batch-seed2': 19,
        'SSN-large_batch-seed2': 29,
    }
    assert list(reached(rows).items()) == list(expected.items())
    files = sorted((tmp_path / 'runs').glob('*/result.json'))
    before = [file.stat().st_mtime_ns for file in files]
    assert go(grid, tmp_path) == rows
    assert [file.stat().st_mtime_ns for file in files] == before
    results = results_of_suite(grid, rows)
    assert mixed(results) == []
    lines = str(main_table(results)).splitlines()
    assert [cell.strip() for cell in lines[2].split('|')[1:5]] == [
        *('BN, small', '12.50 ± 2.12', '76.4', '2')
    ]
    assert '| SSN ' in str(variant_table(results))
    assert '22.50 ± 2.12' in str(variant_table(results))


def test_configs_have_options_of_their_own_start_from_others_and_are_tested(suite, tmp_path):
    configs = {
        'more': dict(config='{variant}.py', options={'more': 100}),
        'SN': '{variant}.py',
        'argmax': '{variant}.py',
    }
    grid = suite(
        configs=configs, variants={'bn': {}, 'ssn': {}}, seeds=[3], after=dict(argmax='SN')
    )
    found = reached(go(grid, tmp_path))
    assert found['more-bn-seed3'] == 119
    assert (found['SN-ssn-seed3'], found['argmax-ssn-seed3']) == (29, 38)
    (tmp_path / 'runs/SN-ssn-seed3/result.json').unlink()
    assert [run.name for run in plan(grid, tmp_path / 'runs')] == [
        *('SN-ssn-seed3', 'argmax-ssn-seed3')
    ]
    (tmp_path / 'ssn.py').write_text('base = 50\n')
    again = reached(go(grid, tmp_path, stale='rerun'))
    assert (again['SN-ssn-seed3'], again['argmax-ssn-seed3']) == (59, 68)
    assert again['SN-bn-seed3'] == found['SN-bn-seed3']
    tested = suite(configs=dict(BN='bn.py'), seeds=[0], test=['--tta'])
    assert reached(go(tested, tmp_path, 'tested')) == {'BN-seed0': 11}


def test_a_run_that_fails_is_recorded_the_others_go_on_and_it_is_tried_again(suite, tmp_path):
    bad = dict(config='bn.py', options={'fail': 'the loss is NaN'})
    configs = {'bad': bad, 'after bad': 'bn.py', 'good': 'bn.py'}
    grid = suite(configs=configs, seeds=[1], after={'after bad': 'bad'})
    states = []
    rows = go(grid, tmp_path, tell=states.append)
    assert states[-1] == {'bad-seed1': 'failed', 'after_bad-seed1': 'failed', 'good-seed1': 'done'}
    (name, error, last), (_, second, _) = failures(results_of_suite(grid, rows))
    assert (name, error) == ('bad-seed1', 'training ended with exit code 1')
    assert last[-1] == 'RuntimeError: the loss is NaN'
    assert second == 'bad-seed1, which it starts from, is not done'
    (tmp_path / 'train.py').write_text(TRAINER.replace('raise RuntimeError', 'print'))
    assert len(reached(go(grid, tmp_path))) == 3


def test_where_all_runs_fail_the_tool_says_why(suite, tmp_path, monkeypatch, capsys):
    suite(configs=dict(BN=dict(config='bn.py', options={'fail': 'the loss is NaN'})), seeds=[0])
    commands = Commands((sys.executable, tmp_path / 'train.py'), ())
    monkeypatch.setattr('ssn_mm.cli.run_suite._commands', lambda gpus: commands)
    assert run_suite_tool(tmp_path / 'grid.py', HERE, work_dir=tmp_path / 'suites') == 1
    printed = capsys.readouterr()
    assert 'BN-seed0 failed, training ended with exit code 1' in printed.err
    assert 'RuntimeError: the loss is NaN' in printed.err
    assert 'report.py' not in printed.out


def test_some_norms_of_a_suite_leave_the_others_in_the_file(suite, tmp_path, monkeypatch):
    suite(seeds=[0, 1])
    commands = Commands((sys.executable, tmp_path / 'train.py'), ())
    monkeypatch.setattr('ssn_mm.cli.run_suite._commands', lambda gpus: commands)
    places = dict(work_dir=tmp_path / 'suites', out=tmp_path / 'results.jsonl')
    assert run_suite_tool(tmp_path / 'grid.py', HERE, **places) == 0
    before = places['out'].read_text()
    shutil.rmtree(tmp_path / 'suites/grid/SSN-seed1')
    (tmp_path / 'ssn.py').write_text('base = 40\n')
    some = Norms(['SSN'])
    assert run_suite_tool(tmp_path / 'grid.py', HERE, stale='rerun', norms=some, **places) == 0
    rows = read_results(places['out']).rows
    assert [row['run'] for row in rows] == ['BN-seed0', 'SSN-seed0', 'BN-seed1', 'SSN-seed1']
    assert [row['metrics']['acc'] for row in rows] == [10, 40, 11, 41]
    assert before.splitlines()[1] in places['out'].read_text()


def test_a_training_finds_modules_of_the_current_folder(suite, tmp_path, monkeypatch):
    grid = suite(seeds=[0])
    (tmp_path / 'project').mkdir()
    (tmp_path / 'project/own_dataset.py').touch()
    (tmp_path / 'train.py').write_text(f'import own_dataset\n{TRAINER}')
    monkeypatch.chdir(tmp_path / 'project')
    assert len(reached(go(grid, tmp_path))) == 2


def test_results_of_another_provenance_are_refused_rerun_or_told(suite, tmp_path):
    grid = suite(seeds=[1])
    go(grid, tmp_path)
    (tmp_path / 'bn.py').write_text('base = 50\n')
    with pytest.raises(ValueError, match=r'1 results .* BN-seed1 \(config \w+ then, \w+ now\)'):
        go(grid, tmp_path)
    assert reached(go(grid, tmp_path, stale='keep'))['BN-seed1'] == 11
    assert reached(go(grid, tmp_path, stale='rerun'))['BN-seed1'] == 51
    rows = go(grid, tmp_path)
    assert reached(rows)['BN-seed1'] == 51
    rows[0]['provenance']['code'] = 'other'
    rows[0]['data'] = 'other'
    told = ' '.join(mixed(results_of_suite(grid, rows)))
    assert 'The results are of 2 versions of code' in told
    assert '2 versions of the data' in told


@pytest.mark.parametrize(
    ('gpus', 'jobs', 'portions'),
    [
        ('2', 2, {'3 4,5', '3 6,7'}),
        pytest.param('1', 1, {'12 4'}, marks=pytest.mark.long),
    ],
)
def test_jobs_at_a_time_have_threads_and_gpus_of_their_own(
    suite, tmp_path, monkeypatch, gpus, jobs, portions
):
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '4,5,6,7')
    monkeypatch.setattr(os, 'cpu_count', lambda: 12)
    whole = suite(seeds=[0])
    tell = """
import os, sys, time
sys.argv.remove(os.environ['GPUS'])
print(os.environ['OMP_NUM_THREADS'], os.environ['CUDA_VISIBLE_DEVICES'])
time.sleep(2)
"""
    monkeypatch.setenv('GPUS', gpus)
    (tmp_path / 'train.py').write_text(tell + TRAINER)
    commands = Commands((sys.executable, tmp_path / 'train.py'), (), (gpus,))
    rows = run_suite(whole, tmp_path / 'runs', commands, Machine(jobs))
    outputs = [tmp_path / 'runs' / row['run'] / 'output.txt' for row in rows]
    assert {file.read_text().splitlines()[0] for file in outputs} == portions
    threads = {row['environment']['threads'] for row in rows}
    assert threads == {int(each.split()[0]) for each in portions}


def test_slurm_is_given_the_jobs_and_its_own_options(suite, tmp_path, monkeypatch):
    grid = suite(configs=dict(BN='bn.py'), seeds=[1, 2])
    with pytest.raises(ValueError, match="cluster 'slurm' needs Slurm's sbatch"):
        go(grid, tmp_path, machine=Machine(cluster='slurm'))
    for name, script in SLURM.items():
        (tmp_path / name).write_text(f'#!/usr/bin/env bash{script}')
        (tmp_path / name).chmod(0o755)
    for key, value in dict(
        HERE=tmp_path, PYTHON=sys.executable, PATH=f'{tmp_path}:{os.environ["PATH"]}'
    ).items():
        monkeypatch.setenv(key, str(value))
    rows = go(grid, tmp_path, machine=Machine(2, 'slurm', dict(slurm_partition='gpu')))
    assert reached(rows) == {'BN-seed1': 11, 'BN-seed2': 14}
    (first, *_) = (tmp_path / 'runs/.submitit').glob('0/*.sh')
    assert '#SBATCH --partition=gpu' in first.read_text()
    with pytest.raises(ValueError, match="Unknown argument 'wheels' for executor 'slurm'"):
        go(grid, tmp_path, machine=Machine(1, 'slurm', dict(slurm_wheels=4)))


def test_the_board_tells_what_ended_and_the_time_left(suite, monkeypatch):
    now = [100.0]
    monkeypatch.setattr('ssn_mm.suites.progress.time.monotonic', lambda: now[0])
    console = Console(file=io.StringIO(), width=200)
    with Board(suite(seeds=[0, 1, 2]), console) as board:
        states = dict.fromkeys('abcdef', 'waiting') | dict(a='done', b='running')
        assert not board.show(states)
        now[0] += 600
        assert board.show(states | dict(b='failed', c='running'))
        assert board.show(dict.fromkeys('abcdef', 'done') | dict(b='failed'))
    assert console.file.getvalue().splitlines()[:2] == [
        *('b: failed (2 of 6, about 0:40:00 left)', 'c: done (6 of 6)')
    ]


def test_the_time_left_begins_again_when_there_is_more_to_do(suite, monkeypatch):
    now = [100.0]
    monkeypatch.setattr('ssn_mm.suites.progress.time.monotonic', lambda: now[0])
    console = Console(file=io.StringIO(), width=200)
    with Board(suite(seeds=[0, 1, 2]), console) as board:
        states = dict.fromkeys('abcdef', 'done')
        board.show(states | dict(a='running'))  # is certified, and nothing else has been looked at
        now[0] += 600
        board.show(states)
        states |= dict.fromkeys('cdef', 'waiting')
        board.show(states)
        now[0] += 60
        board.show(states | dict(c='done'))
    assert console.file.getvalue().splitlines()[1:] == ['c: done (3 of 6, about 0:03:00 left)']
