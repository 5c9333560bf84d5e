"""Shared by all tests."""

import gc
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

# a graph compiled for an operator's old outputs would be taken from the cache of an earlier run
os.environ.setdefault('TORCHINDUCTOR_FORCE_DISABLE_CACHES', '1')
# beside other processes of tests a second thread waits more than it works; tests/ops has two
os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ.setdefault('OMP_WAIT_POLICY', 'passive')
os.environ.setdefault('TORCHINDUCTOR_COMPILE_THREADS', '1')  # in place of a pool of processes

import torch

import ssn_mm  # noqa: F401, repairs OpenMMLab before a test imports it
from ssn_mm.ops.backends import cpp

MMENGINE = importlib.util.find_spec('mmengine')  # tests of ops and layers need none
MMACTION = importlib.util.find_spec('mmaction')  # which the fork of OpenMMLab lacks
OF_MMACTION = re.compile(
    r'^(import|from) (mmaction|stock_networks|ssn_mm\.datasets\.digits\.video)\b', re.MULTILINE
)

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT.parent / 'shared' / 'samples'  # real pictures, where somebody has put them
if not torch.cuda.is_available():
    os.environ.setdefault('TRITON_INTERPRET', '1')  # read when triton is imported

sys.path[:0] = [str(ROOT / 'tests'), str(ROOT / 'tests/helpers')]  # references.py, and helpers

if MMENGINE:
    from mmengine.logging import MMLogger
    from mmengine.registry import DefaultScope
    from mmengine.visualization import Visualizer

import forked  # noqa: E402, has mmengine not pause between passes over the data

torch.set_num_threads(1)


def pytest_addoption(parser):
    parser.addoption(
        '--long',
        action='store_true',
        help='more cases: those marked `long` (minutes), and hours of fuzzing, kills, whole demos',
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    """Where processes share the tests (pytest-xdist), a file's stay together, in our order."""
    config.addinivalue_line('markers', 'mmaction: needs mmaction2, and is skipped without it')
    config.addinivalue_line('markers', 'compiler: needs a C++ compiler, and is skipped without it')
    config.addinivalue_line('markers', 'exporter: writes ONNX files of networks of any size')
    config.addinivalue_line('markers', 'long: another case of a claim, left out without --long')
    if getattr(config.option, 'dist', 'no') != 'no':
        config.option.dist, config.option.loadscopereorder = 'loadfile', False


def pytest_ignore_collect(collection_path):
    """Without mmaction2, whether a file is left out since it is all about it."""
    if MMACTION or collection_path.suffix != '.py':
        return None
    text = collection_path.read_text(encoding='utf-8')
    return bool(OF_MMACTION.search(text)) or None


def pytest_report_header():
    return None if MMACTION else 'mmaction2 is not installed: its tests are left out'


def pytest_runtest_setup(item):
    case = item.callspec.id if hasattr(item, 'callspec') else ''
    if not MMACTION and (
        item.get_closest_marker('mmaction') or re.search('i3d|kinetics|table5|mmaction', case)
    ):
        pytest.skip('mmaction2 is not installed')
    compiled = item.get_closest_marker('compiler') or re.search(r'\bcpp\b', case)
    if compiled and (reason := cpp.why_not_built()):
        pytest.skip(reason)
    if item.get_closest_marker('exporter') and torch.__version__ < (2, 8):
        pytest.skip('the ONNX exporter of torch 2.6 and 2.7 refuses these networks')


def pytest_collection_modifyitems(config, items):
    """Whole trainings first: where two processes share the files, one would end with them."""
    if not config.getoption('--long'):
        left_out = [item for item in items if item.get_closest_marker('long')]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker('long')]
    items.sort(key=lambda item: 'runs' not in item.path.parts)


def pytest_collection_finish():
    """What is imported is never garbage; mmengine collects it for every dataset."""
    gc.freeze()


def pytest_unconfigure():
    gc.unfreeze()  # or what libraries count as leaks is told at the end


@pytest.fixture(scope='session')
def long(request):
    """Whether ``--long`` asks for all of a test's cases, not for CI's share."""
    return request.config.getoption('--long')


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _own_visualizer():
    """A visualizer, which mmengine keeps by its name, writes to the folder of its own test."""
    yield
    if MMENGINE:
        for kind in (Visualizer, *Visualizer.__subclasses__()):
            kind._instance_dict.clear()


@pytest.fixture(scope='module', autouse=True)
def _own_scope():
    """A library's scope and logger, and what tools set for PyTorch, stay in one module's tests."""
    yield
    for name in ('TORCH_FORCE_WEIGHTS_ONLY_LOAD', 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'):
        os.environ.pop(name, None)
    if not MMENGINE:
        return
    DefaultScope._instance_dict.clear()
    MMLogger._instance_dict.clear()


@pytest.fixture
def run_alone(tmp_path):
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


@pytest.fixture(scope='session')
def run_script(fork, tmp_path_factory):
    """Runs a script of the repository in a process that has PyTorch imported."""

    def run(*command, cwd, timeout=300, **environment):
        output = tmp_path_factory.mktemp('said') / 'output'
        command = [str(part) for part in command]
        process = fork(forked.run_script, command, str(cwd), output, environment)
        process.join(timeout)
        assert process.exitcode is not None, output.read_text()[-3000:]
        return process.exitcode, output.read_text()

    return run


@pytest.fixture
def run_tool(run_alone, run_script, tmp_path):
    """As ``run_alone``, and Python's scripts with ``run_script``: most would mostly import."""

    def run(*command, cwd=tmp_path, **kwargs):
        ours = str(command[1]).endswith('.py') or command[1:3] == ('-m', 'ssn_mm')
        if command[0] == sys.executable and ours and 'env' not in kwargs:
            return run_script(*command[1:], cwd=cwd, **kwargs)
        return run_alone(*command, cwd=cwd, **kwargs)

    return run


@pytest.fixture(scope='session')
def run_tools(run_script):
    """Runs scripts of the repository in turn; returns each one's exit code and output."""

    def run(folder, *commands):
        return [run_script(*command, cwd=folder, TORCH_HOME=str(folder)) for command in commands]

    return run


@pytest.fixture(scope='session')
def train_in_turn(run_script):
    """Trains configs with the same options in ``folder``/work_dirs; returns what each said."""

    def run(folder, configs, options):
        options = [f'{key}={value}' for key, value in options.items()]
        tool, said = ROOT / 'tools/train.py', []
        for config in configs:
            code, output = run_script(tool, config, '--cfg-options', *options, cwd=folder)
            assert code == 0, output[-3000:]
            said.append(output)
        return said

    return run


@pytest.fixture(scope='session')
def fork():
    """Starts a function of a module in tests/ as the fork of a process that has imported all."""
    context = forked.start_server()
    started = []

    def start(function, *args):
        process = context.Process(target=function, args=args)
        process.start()
        started.append(process)
        return process

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
