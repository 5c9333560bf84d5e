"""What this package prints: commands to be pasted into the shell, lists, errors in a line."""

import os
import re
import shlex
import shutil
import sys
from pathlib import Path

OWN = 'ssn_mm'
STAMP = re.compile(r'\[\d\d:\d\d:\d\d\] \S+:\d+: ')  # time and source line, in decord's errors
_NAMED = 3  # names of many that a message has
_ROOT = Path(__file__).resolve().parents[1]


def command(tool: str, *arguments: object) -> str:
    """A command line that runs a tool of this package, quoted for the shell.

    Below a checkout it names the script; elsewhere, and where the package was installed from a
    wheel, it is ``python -m ssn_mm ssn_mm::TOOL``. ``python`` is the interpreter that runs now.

    Args:
        tool: The tool's path below tools/, such as 'analysis_tools/report.py'; or PACKAGE::TOOL of
            another library.
        *arguments: The words after it. A ``Path`` is shortened and never taken for an option, a
            string stays as it is. 'ssn_mm::demo/deeplab_ssn_digits.py' names a config that the
            package ships.
    """
    script = _ROOT / 'tools' / tool
    below = script.is_file() and script.is_relative_to(Path.cwd())
    named = tool if '::' in tool else f'{OWN}::{tool}'
    words = [short(script)] if below else ['-m', OWN, named]
    for argument in arguments:
        if isinstance(argument, Path):
            words.append(_as_path(short(argument)))
        elif below and str(argument).startswith(f'{OWN}::'):
            words.append(short(_ROOT / 'configs' / str(argument).removeprefix(f'{OWN}::')))
        else:
            words.append(str(argument))
    return _joined(_python(), *words)


def pip_install(*requirements: str) -> str:
    """The command that installs packages for this interpreter, quoted for the shell."""
    return _joined(_python(), '-m', 'pip', 'install', *requirements)


def pip_uninstall(*distributions: str) -> str:
    """The command that removes packages of this interpreter, quoted for the shell."""
    return _joined(_python(), '-m', 'pip', 'uninstall', '-y', *distributions)


def quoted(path: str | Path) -> str:
    """A path as a word of a printed command, quoted for the shell, never an option."""
    return _joined(_as_path(str(path)))


def short(path: str | Path) -> str:
    """A path relative to the current folder if it lies below, else absolute."""
    full = Path(os.path.abspath(path))
    return str(full.relative_to(Path.cwd()) if full.is_relative_to(Path.cwd()) else full)


def in_a_line(error: BaseException) -> str:
    """An error's text, the first line of many; with its type unless the text is our own."""
    line = (STAMP.sub('', str(error)).strip().splitlines() or [''])[0]
    return line if isinstance(error, ValueError) else f'{type(error).__name__}: {line}'


def listed(names: list[str]) -> str:
    """The first names of many, and how many more there are."""
    more = len(names) - _NAMED
    return ', '.join(names[:_NAMED]) + (f' and {more} more' if more > 0 else '')


def _as_path(text: str) -> str:
    """A path as a word that is neither an option nor a name like ``package::config``."""
    special = text.startswith('-') or ('::' in text and not os.path.isabs(text))
    return f'./{text}' if special else text


def _joined(*words: str) -> str:
    """Words as a line for the shell: a POSIX one, or on Windows PowerShell and cmd."""
    if sys.platform != 'win32':
        return shlex.join(words)
    # no name of a file has a double quote there
    return ' '.join(w if re.fullmatch(r'[\w.:/\\+=-]+', w) else f'"{w}"' for w in words)


def _python() -> str:
    """The shortest name of this interpreter that the shell finds."""
    own = os.path.normcase(sys.executable or '')
    for name in ('python', 'python3'):
        found = shutil.which(name)  # a link may be another environment
        if found and os.path.normcase(os.path.abspath(found)) == own:
            return name
    return sys.executable or 'python'
