"""Whole small trainings and tests, run as a user runs them."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import forked
import pytest
import torch
from demos import DEMO, digits, miou, next_steps, train

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A finished demo, by a process of its own: its folder and output."""
    folder = tmp_path_factory.mktemp('demo') / 'a demo'
    folder.mkdir()
    done = subprocess.run(
        [str(c) for c in train(DEMO, '--work-dir', folder / 'run', *digits(
            folder, 'train_cfg.max_iters=8', 'default_hooks.checkpoint.interval=4'
        ))],
        cwd=folder, text=True, capture_output=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder, done.stdout


def test_a_training_ends_with_every_layer_selected_and_says_what_to_do_next(trained):
    _, output = trained
    lines = output.strip().splitlines()
    (selected,) = (i for i, line in enumerate(lines) if re.match(r'(\d+) of \1 ratios', line))
    (last,) = (i for i, line in enumerate(lines) if line.startswith('Results are in '))
    stages = lines[selected + 1 : last]
    assert stages[1].startswith('  backbone.layer1')
    bars = [re.search(r'  means ([ILB]+) +variances ([ILB]+)$', line).groups() for line in stages]
    assert sum(len(bar) for pair in bars for bar in pair) == 44
    assert lines[last] == 'Results are in run. Next, test, plot, deploy:'
    assert 0 <= miou(output) <= 100


def test_the_commands_of_the_last_lines_work_one_after_the_other(trained, run_tool):
    """In a shell, too: test_printed_commands.py."""
    folder, output = trained
    assert list(next_steps(output)) == ['test.py', 'analysis_tools/plot_ratios.py', 'deploy.py']
    config = (folder / 'run' / DEMO.name).read_bytes()
    for line in output.strip().splitlines()[-3:]:
        code, said = run_tool(*shlex.split(line), cwd=folder)
        assert code == 0, said[-3000:]
    # that of the training, though the test was another's: of a network that averages over scales
    assert (folder / 'run' / DEMO.name).read_bytes() == config
    assert (folder / 'run/figures/layers.png').is_file()
    assert '22 SSN layers, ' in said
    frozen = folder / 'run/iter_8.frozen.pth'
    code, said = run_tool(sys.executable, ROOT / 'tools/test.py', DEMO, frozen, *digits(folder))
    assert code == 2
    assert 'iter_8.frozen.pth is of a frozen network' in said
    program = torch.export.load(str(folder / 'run/iter_8.pt2')).module()
    assert program(torch.randn(1, 3, 64, 64)).shape == (1, 11, 8, 8)


def test_a_run_stopped_early_is_deployed_with_force_and_says_what_is_missing(trained, run_tool):
    folder, _ = trained
    command = [ROOT / 'tools/deploy.py', f'run/{DEMO.name}', 'run/iter_4.pth', '--seconds', '0']
    code, said = run_tool(sys.executable, *command, cwd=folder)
    assert code == 2
    told = r'(\d+) of 44 ratios have not selected yet, those of backbone\.\S+.* and \d+ more; '
    told += r'the checkpoint is of iteration 4 of 8\. Go on with it:\n    .*--resume\n'
    count = re.search(told + 'With --force they take their largest', said)[1]
    assert not (folder / 'run/iter_4.pt2').exists()
    code, said = run_tool(sys.executable, *command, '--force', cwd=folder)
    assert code == 0, said[-3000:]
    assert re.search(told, said)[1] == count
    assert re.search(r'outputs then differ, on noise by up to \d+\.\d%', said)
    assert said.count('(forced)') == int(count)
    assert (folder / 'run/iter_4.pt2').is_file()


def test_a_checkpoint_carries_the_selection(trained):
    folder, _ = trained
    state = torch.load(folder / 'run/iter_8.pth', weights_only=False)['state_dict']
    logits = torch.stack([v for k, v in state.items() if k.endswith('ratio_logits')])
    assert logits.shape[1:] == (2, 3)
    assert (logits.sort(-1).values == torch.tensor([0.0, 0, 1])).all()
    assert [json.loads(line) for line in (folder / 'run/ssn_ratios.jsonl').open()][-1]['iter'] == 8


def test_testing_writes_label_maps_and_pictures(trained, run_tool):
    folder, output = trained
    code, tested = run_tool(
        sys.executable, ROOT / 'tools/test.py', DEMO, folder / 'run/iter_8.pth',
        '--work-dir', folder / 'test', '--out', folder / 'maps', '--show-dir', folder / 'shown',
        *digits(folder),
    )  # fmt: skip
    assert code == 0, tested[-3000:]
    assert miou(tested) == pytest.approx(miou(output), abs=0.02)
    maps = [cv2.imread(str(p), cv2.IMREAD_UNCHANGED) for p in (folder / 'maps').glob('*.png')]
    assert len(maps) == 4
    assert len(list((folder / 'shown').rglob('*.png'))) == 4


def test_testing_does_not_write_its_labels_over_the_annotations(trained, run_tool):
    folder, _ = trained
    truth = folder / 'ade/annotations/validation'
    before = {file: file.read_bytes() for file in truth.iterdir()}
    code, said = run_tool(
        sys.executable, ROOT / 'tools/test.py', DEMO, folder / 'run/iter_8.pth',
        '--work-dir', folder / 'over', '--out', truth, *digits(folder),
    )  # fmt: skip
    assert code == 2, said[-3000:]
    assert 'would overwrite' in said
    assert before
    assert {file: file.read_bytes() for file in truth.iterdir()} == before


def by_torchrun(run_tool, folder, *arguments):
    environment = os.environ | {
        'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
        'PORT': '29611',
    }
    command = ['bash', ROOT / 'tools/dist_test.sh', *arguments[:2], '2', *arguments[2:]]
    return run_tool(*command, env=environment)


@pytest.mark.parametrize('torchrun', [False, pytest.param(True, marks=pytest.mark.long)])
def test_two_cpu_processes_test_as_one_does(trained, run_tool, fork, tmp_path, torchrun):
    folder, _ = trained
    arguments = [
        *(DEMO, folder / 'run/iter_8.pth', '--tta', '--work-dir', folder / 'tta'),
        *digits(folder),
    ]
    code, alone = run_tool(sys.executable, ROOT / 'tools/test.py', *arguments)
    assert code == 0, alone[-3000:]
    if torchrun:
        code, output = by_torchrun(run_tool, folder, *arguments)
        assert code == 0, output[-3000:]
    else:
        command = [str(c) for c in (ROOT / 'tools/test.py', *arguments, '--launcher', 'pytorch')]
        joined = dict(WORLD_SIZE='2', MASTER_ADDR='127.0.0.1', MASTER_PORT='29613')
        ranks = [
            fork(
                forked.run_script, command, str(folder), tmp_path / str(rank),
                joined | dict(RANK=str(rank), LOCAL_RANK=str(rank)),
            )
            for rank in range(2)
        ]  # fmt: skip
        for process in ranks:
            process.join(300)
        output = (tmp_path / '0').read_text()
        assert [process.exitcode for process in ranks] == [0, 0], output[-3000:]
    assert miou(output) == miou(alone)
