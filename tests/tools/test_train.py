"""How trainings are resumed on the command line, ours and the libraries'."""

import re
import sys

import pytest
import torch
from demos import DEMO, ROOT, digits

from ssn_mm.shipped import shipped

SHORT = ('train_cfg.max_iters=4', 'default_hooks.checkpoint.interval=1')


@pytest.fixture(scope='module')
def first(tmp_path_factory, run_script):
    """A folder with the work dir of a training of four iterations, and its weights alone."""
    folder = tmp_path_factory.mktemp('first')
    tool = ROOT / 'tools/train.py'
    command = [tool, DEMO, '--work-dir', 'first', *digits(folder, *SHORT)]
    code, output = run_script(*command, cwd=folder)
    assert code == 0, output[-3000:]
    state = torch.load(folder / 'first/iter_4.pth', weights_only=True)['state_dict']
    torch.save(state, folder / 'weights.pth')
    return folder


def train(run_tool, folder, *arguments, options=()):
    command = [ROOT / 'tools/train.py', *arguments, *digits(folder, *SHORT, *options)]
    code, output = run_tool(sys.executable, *command, cwd=folder)
    starts = re.findall(r'resumed epoch: 0, iter: (\d+)', output)
    return code, output, [int(start) for start in starts]


def test_resume_with_load_from_begins_with_it_and_goes_on_from_the_work_dir(first, run_tool):
    own = dict(options=['load_from=weights.pth', 'train_cfg.max_iters=3'])
    code, output, starts = train(run_tool, first, DEMO, '--resume', '--work-dir', 'tuned', **own)
    assert (code, starts) == (0, []), output[-3000:]
    assert 'starts from load_from=weights.pth' in output
    own = dict(options=['load_from=first/iter_4.pth'])  # finished: nothing would be trained
    code, output, starts = train(run_tool, first, '--resume', DEMO, '--work-dir', 'tuned', **own)
    assert (code, starts) == (0, [3]), output[-3000:]


@pytest.mark.parametrize(
    ('asked', 'option'),
    [
        (['--resume', 'first/iter_2.pth'], 'default_hooks.reliability=None'),  # without the hook
        ([], 'resume=first/iter_2.pth'),
        ([], 'resume=True'),
    ],
)
def test_a_file_or_the_newest_is_resumed_by_option_and_by_config(first, run_tool, asked, option):
    folder = f'by-{option}'.replace('/', '-')
    if option == 'resume=True':
        train(run_tool, first, DEMO, '--work-dir', folder, options=['train_cfg.max_iters=2'])
    asked = [*asked, '--work-dir', folder]
    code, output, starts = train(run_tool, first, DEMO, *asked, options=[option])
    assert (code, starts) == (0, [2]), output[-3000:]
    assert (first / folder / 'iter_4.pth').exists()


def test_a_file_without_a_trainings_state_is_refused(first, run_tool):
    code, output, _ = train(run_tool, first, DEMO, '--resume', 'weights.pth', '--work-dir', 'no')
    assert code == 2, output[-3000:]
    assert 'weights.pth holds weights and not the state of a training' in output
    assert 'Traceback' not in output


def test_mmsegs_own_tool_resumes_with_load_from_as_ours_does(first, run_script):
    def run(*arguments):
        options = digits(first, *SHORT, 'load_from=first/iter_4.pth', *arguments)
        command = [shipped('mmseg', 'tools', 'train.py'), DEMO, '--resume', '--work-dir', 'theirs']
        code, output = run_script(*command, *options, cwd=first)
        assert code == 0, output[-3000:]
        return re.findall(r'resumed epoch: 0, iter: (\d+)', output)

    assert run('train_cfg.max_iters=2') == []
    assert run() == ['2']


def test_a_test_of_a_config_that_resumes_tests_the_checkpoint_that_is_named(first, run_tool):
    command = [ROOT / 'tools/test.py', DEMO, 'first/iter_2.pth']
    code, output = run_tool(sys.executable, *command, *digits(first, 'resume=True'), cwd=first)
    assert code == 0, output[-3000:]
    assert 'resumed' not in output
