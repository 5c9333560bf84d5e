"""Shared by all tests."""

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

# a graph compiled for an operator's old outputs would be taken from the cache of an earlier run
os.environ.setdefault('TORCHINDUCTOR_FORCE_DISABLE_CACHES', '1')

import torch
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from mmengine.runner import loops

import ssn_mm  # noqa: F401, repairs OpenMMLab before a test imports it

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT.parent / 'shared' / 'samples'  # real pictures, where somebody has put them
if not torch.cuda.is_available():
    os.environ.setdefault('TRITON_INTERPRET', '1')  # read when triton is imported

sys.path.insert(0, str(ROOT / 'tests'))  # references.py

torch.set_num_threads(2)
# between passes over the data mmengine pauses for two seconds, most of what a small training takes
loops.time = SimpleNamespace(sleep=lambda seconds: None)


def pytest_addoption(parser):
    parser.addoption(
        '--long', action='store_true', help='more cases: fifty kills, hours of fuzzing, whole demos'
    )


@pytest.fixture(scope='session')
def long(request):
    """Whether ``--long`` asks for all of a test's cases, not for CI's share."""
    return request.config.getoption('--long')


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(scope='module', autouse=True)
def _own_scope():
    """A library's default scope and logger, set in one module's tests, are not in another's."""
    yield
    DefaultScope._instance_dict.clear()
    MMLogger._instance_dict.clear()


@pytest.fixture
def run_tool(tmp_path):
    """Runs a command of the repository as a user would; returns exit code and output."""

    def run(*command, cwd=tmp_path, timeout=300, **kwargs):
        done = subprocess.run(
            [str(c) for c in command],
            cwd=cwd,
            timeout=timeout,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            **kwargs,
        )
        return done.returncode, done.stdout

    return run


# tools one after the other: processes of their own would mostly import
TOOLS = """
import runpy, sys, traceback
for line in sys.stdin.read().splitlines():
    tool, *arguments = line.split('\\t')
    print('=====', flush=True)
    print('=====', file=sys.stderr, flush=True)
    sys.argv = [tool, *arguments]
    try:
        runpy.run_path(tool, run_name='__main__')
        code = 0
    except SystemExit as error:
        code = error.code
    except BaseException:
        traceback.print_exc()
        code = 1
    print('code', code, flush=True)
"""


@pytest.fixture(scope='session')
def run_tools():
    """Runs tools of the repository in one process; returns each one's exit code and output."""

    def run(folder, *commands):
        lines = '\n'.join('\t'.join(map(str, command)) for command in commands)
        done = subprocess.run(
            [sys.executable, '-W', 'ignore', '-c', TOOLS], cwd=folder, input=lines, text=True,
            capture_output=True, timeout=300, env=os.environ | {'TORCH_HOME': str(folder)},
        )  # fmt: skip
        parts = zip(done.stdout.split('=====\n'), done.stderr.split('=====\n'), strict=True)
        said = [(out.rpartition('code '), error) for out, error in list(parts)[1:]]
        return [(int(code.split()[0]), out + error) for (out, _, code), error in said]

    return run


# tools/train.py for one config after the other: processes of their own would mostly import
TRAIN = """
import runpy, sys
tool, *configs, last = sys.argv[1:]
for config in configs:
    print('=====', flush=True)
    sys.argv = [tool, config, '--cfg-options', *last.split()]
    runpy.run_path(tool, run_name='__main__')
"""


@pytest.fixture(scope='session')
def train_in_turn():
    """Trains configs in one process, into ``folder``/work_dirs; returns what each said."""

    def run(folder, configs, options):
        command = [sys.executable, '-c', TRAIN, ROOT / 'tools/train.py', *configs]
        command.append(' '.join(f'{key}={value}' for key, value in options.items()))
        done = subprocess.run(
            [str(c) for c in command], cwd=folder, text=True, capture_output=True, timeout=600
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout.split('=====\n')[1:]

    return run


@pytest.fixture(scope='session')
def fork():
    """Starts a function of a module in tests/ as the fork of a process that has imported all."""
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['engine.test_reliability_hook', 'torch._dynamo', 'mmpretrain'])
    started = []

    def start(function, *args):
        started.append(context.Process(target=function, args=args))
        started[-1].start()
        return started[-1]

    with pytest.MonkeyPatch.context() as patch:  # the server does not get sys.path from us
        patch.setenv('PYTHONPATH', os.pathsep.join(sys.path))
        yield start
    for process in started:
        process.kill()


@pytest.fixture(scope='session')
def wheel_and_sdist(tmp_path_factory):
    """Both distributions, built as for a release."""
    folder = tmp_path_factory.mktemp('dist')
    command = [sys.executable, '-m', 'build', '--outdir', folder, ROOT]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    (wheel,), (sdist,) = folder.glob('*.whl'), folder.glob('*.tar.gz')
    return wheel, sdist
