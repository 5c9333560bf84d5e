"""A script run in the fork of a process that has imported what takes long, as seconds count."""

import atexit
import os
import runpy
import sys
import traceback
from pathlib import Path
from types import SimpleNamespace

try:
    from mmengine.runner import loops
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

# between passes over the data mmengine pauses for two seconds, most of what a small training takes
if loops:
    loops.time = SimpleNamespace(sleep=lambda seconds: None)


def run_script(command, cwd, output, environment):
    """Does what ``python *command`` does there, with its output in a file; ends the process."""
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.chdir(cwd)
    os.environ.update(environment)
    tests = str(Path(__file__).parent)
    sys.path[:] = [str(Path(command[0]).parent), *(path for path in sys.path if path != tests)]
    sys.argv = command
    try:
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
