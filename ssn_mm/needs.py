"""What the package needs of Python and PyTorch; the import of this module checks it.

An old Python has to read this file, so it has nothing newer than Python 3.6.
"""

import sys
from pathlib import Path

PYTHON, TORCH = (3, 10), (2, 6)  # as pyproject.toml has them


def check_versions() -> None:
    """Checks the versions of Python and PyTorch.

    Raises:
        ImportError: One is too old, or there is no PyTorch. Says the command that mends it; in a
            tool of this package the message is printed and the process ends instead.
    """
    told = _what_is_wrong()
    if told:
        stop_tool(ImportError(told))


def _what_is_wrong() -> str:
    if sys.version_info < PYTHON:
        return (
            f'ssn_mm needs Python {_dotted(PYTHON)} or later, this is {sys.version.split()[0]} '
            f'({sys.executable}). Make an environment of a later one, and install there again:\n'
            '    python3.12 -m venv .venv && source .venv/bin/activate'
        )
    install = f"{sys.executable} -m pip install 'torch>={_dotted(TORCH)}'"
    try:
        import torch
    except ModuleNotFoundError as error:
        if error.name != 'torch':
            raise
        return f'ssn_mm needs PyTorch {_dotted(TORCH)} or later, here is none:\n    {install}'
    if torch.__version__ < TORCH:  # type: ignore[operator]
        return (
            f'ssn_mm needs PyTorch {_dotted(TORCH)} or later, this is {torch.__version__}:\n'
            f'    {install}'
        )
    return ''


def _dotted(version) -> str:  # type: ignore[no-untyped-def]
    return '.'.join(map(str, version))


def stop_tool(error: ImportError) -> None:
    """Ends a tool of this package with an error's message; raises it in any other program."""
    main = getattr(sys.modules['__main__'], '__file__', None)
    package = Path(__file__).resolve().parent
    own = {package.with_name('tools'), package / '.mim' / 'tools', package / '__main__.py'}
    if main and not own.isdisjoint([Path(main).resolve(), *Path(main).resolve().parents]):
        print(f'error: {error}', file=sys.stderr)
        sys.exit(2)
    raise error


check_versions()
