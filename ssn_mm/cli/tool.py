"""How a tool ends: with its message and exit code where the command or a file is wrong."""

import sys
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from ..datasets.samples import empty_dataset
from ..engine.data.samples import BrokenSampleError
from ..weights.files import explain_refusal


def run_tool(main: Callable[[], object]) -> None:
    """Runs a tool's main; an error that this package raises becomes its message and exit code 2.

    Ctrl-C ends with exit code 130. What other code raises keeps its traceback.
    """
    try:
        main()
    except BrokenSampleError as error:  # from a worker of a data loader, with its traceback
        print(
            f'\nerror: {str(error).rpartition(f"{BrokenSampleError.__name__}: ")[2]}',
            file=sys.stderr,
        )
        sys.exit(2)
    except UnpicklingError as error:
        print(f'\nerror: {explain_refusal(error)}', file=sys.stderr)
        sys.exit(2)
    except BaseException as error:
        if is_interrupt(error):
            print('\nInterrupted.', file=sys.stderr)
            sys.exit(130)
        if (empty := empty_dataset(error)) is not None:
            message = _of_empty(empty)
        elif isinstance(error, OSError | ImportError | ValueError | TypeError) and _is_own(error):
            message = _message(error)
        else:
            raise
        print(f'\nerror: {message}', file=sys.stderr)
        sys.exit(2)


def _is_own(error: Exception) -> bool:
    """Whether this package or one of its tools raised it, or a file that they opened."""
    files = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
    library = sysconfig.get_path('stdlib')
    while isinstance(error, OSError) and _lies_in(files[-1], library):
        files.pop()
    package = Path(__file__).parents[1]
    return any(_lies_in(files[-1], place) for place in (package, package.with_name('tools')))


def _lies_in(file: str, folder: str | Path) -> bool:
    path = Path(file).absolute()  # of a script it is as the command named it
    return path.is_relative_to(folder) and 'site-packages' not in path.relative_to(folder).parts


def _of_empty(dataset: Any) -> str:
    read = ', '.join(
        f'{key} {value!r}'
        for key in ('ann_file', 'data_prefix', 'img_suffix', 'extensions', 'indices')
        if (value := getattr(dataset, key, None)) not in (None, '')
    )
    return f'a {type(dataset).__name__} of the config finds no samples, with {read}'


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f'{error.strerror}: {error.filename!r}' if error.filename else error.strerror
    return str(error)


def is_interrupt(error: BaseException | None) -> bool:
    """Whether Ctrl-C began it; the code that it falls into may make another error of it.

    mmengine raises a SyntaxError where it formats a config, PyTorch a RuntimeError where it
    writes a checkpoint.
    """
    if error is None or isinstance(error, SystemExit):
        return False
    return isinstance(error, KeyboardInterrupt) or is_interrupt(error.__context__)
