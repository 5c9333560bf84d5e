"""How a tool ends: its exit code, and its message where the command or a file is wrong.

Exit codes: 0, all is done; 1, it is done and has found or left something that is not right, each
tool's help says what; 2, the command, the config or a file is wrong; 130, interrupted.
"""

import io
import sys
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from ..datasets.sample_info import empty_dataset
from ..engine.data.samples import BrokenSampleError
from ..weights.files import explain_refusal

WRONG, INTERRUPTED = 2, 130


def run_tool(main: Callable[[], int | None]) -> None:
    """Runs a tool and ends the process with its exit code.

    An error that this package raises becomes its message; what other code raises keeps its
    traceback.

    Args:
        main: The tool; what it returns is its exit code, None is 0.

    Raises:
        SystemExit: Always, unless an error keeps its traceback.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # a pipe's encoding on Windows lacks Greek, say
        sys.stdout.reconfigure(errors='backslashreplace')
    try:
        code = main()
    except BaseException as error:
        if is_interrupt(error):
            print('\nInterrupted.', file=sys.stderr)
            sys.exit(INTERRUPTED)
        message = _message_of(error)
        if message is None:
            raise
        print(f'\nerror: {message}', file=sys.stderr)
        sys.exit(WRONG)
    sys.exit(code)


def is_interrupt(error: BaseException | None) -> bool:
    """Whether Ctrl-C began it; the code that it falls into may make another error of it.

    mmengine raises a SyntaxError where it formats a config, PyTorch a RuntimeError where it
    writes a checkpoint.
    """
    if error is None or isinstance(error, SystemExit):
        return False
    return isinstance(error, KeyboardInterrupt) or is_interrupt(error.__context__)


def _message_of(error: BaseException) -> str | None:
    """What a user is told of an error; None where its traceback says more."""
    if isinstance(error, BrokenSampleError):  # from a worker of a data loader, with its traceback
        return str(error).rpartition(f'{BrokenSampleError.__name__}: ')[2]
    if isinstance(error, UnpicklingError):
        return explain_refusal(error)
    if (empty := empty_dataset(error)) is not None:
        return _told_of_empty(empty)
    if isinstance(error, OSError | ImportError | ValueError | TypeError) and _is_own(error):
        if isinstance(error, OSError) and error.strerror:
            return f'{error.strerror}: {error.filename!r}' if error.filename else error.strerror
        return str(error)
    return None


def _is_own(error: Exception) -> bool:
    """Whether this package or one of its tools raised it, or a file that they opened."""
    files = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
    library = sysconfig.get_path('stdlib')
    while isinstance(error, OSError) and _lies_in(files[-1], library):
        files.pop()
    package = Path(__file__).parents[1]
    return any(_lies_in(files[-1], place) for place in (package, package.with_name('tools')))


def _lies_in(file: str, folder: str | Path) -> bool:
    path = Path(file).absolute()  # a script's is as the command named it
    return path.is_relative_to(folder) and 'site-packages' not in path.relative_to(folder).parts


def _told_of_empty(dataset: Any) -> str:
    read = ', '.join(
        f'{key} {value!r}'
        for key in ('ann_file', 'data_prefix', 'img_suffix', 'extensions', 'indices')
        if (value := getattr(dataset, key, None)) not in (None, '')
    )
    return f'a {type(dataset).__name__} of the config finds no samples, with {read}'
