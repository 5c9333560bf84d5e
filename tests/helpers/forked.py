"""A script run in the fork of a process that has imported what takes long, as seconds count."""

import atexit
import functools
import gc
import multiprocessing.forkserver
import os
import runpy
import sys
import traceback
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

try:
    from mmengine.config import config
    from mmengine.runner import loops, runner
except ModuleNotFoundError:  # tests of ops and layers need none
    loops = None

# what the three libraries import, not they: a script has to import and register these itself
IMPORTED = (
    'ssn_mm.cli.train',
    'torch._dynamo',
    'torchvision',
    'matplotlib.pyplot',
    'mmcv.ops',
    'mmpretrain',
    'scipy.optimize',
    'sklearn.metrics',
)


def start_server():
    """Starts the process that scripts and ranks are forked from, once; returns its context."""
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['forked', *IMPORTED, 'resumed', 'distributed'])
    # it does not get sys.path from us
    with patch.dict(os.environ, {'PYTHONPATH': os.pathsep.join(sys.path)}):
        multiprocessing.forkserver.ensure_running()
    return context


def _once_a_text(function):
    """``function`` of a text, which keeps what it gave."""
    kept = {}

    def from_memory(text, **kwargs):
        if text not in kept:
            kept[text] = function(text, **kwargs)
        return kept[text]

    return from_memory


# between passes over the data mmengine pauses for two seconds, most of what a small training takes
if loops:
    loops.time = SimpleNamespace(sleep=lambda seconds: None)
    # at every checkpoint it asks git for its version and formats the config, each time the same
    if hasattr(config, 'FormatCode'):  # upstream imports it at the top
        config.FormatCode = _once_a_text(config.FormatCode)
    runner.get_git_hash = functools.cache(runner.get_git_hash)
    # compilers tell their versions in the trainings that are processes of their own
    runner.collect_env = lambda: dict()


def run_script(command, cwd, output, environment):
    """Does what ``python *command`` does there, with its output in a file; ends the process."""
    gc.freeze()  # mmengine collects garbage for every dataset; all that is imported is none
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.chdir(cwd)
    os.environ.update(environment)
    tests = Path(__file__).parents[1]
    as_module = command[0] == '-m'
    sys.argv = command[1:] if as_module else command
    start = str(cwd) if as_module else str(Path(command[0]).parent)
    sys.path[:] = [start, *(path for path in sys.path if not Path(path).is_relative_to(tests))]
    try:
        if as_module:
            runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)
        else:
            runpy.run_path(command[0], run_name='__main__')
        code = 0
    except SystemExit as error:
        code = error.code
    except BaseException:
        traceback.print_exc()
        code = 1
    if isinstance(code, str):  # which the interpreter prints
        print(code, file=sys.stderr)
        code = 1
    atexit._run_exitfuncs()
    sys.exit(code)
