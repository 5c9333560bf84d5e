"""Finds what is named `package::file`: configs and tools that installed packages ship."""

from collections.abc import Iterator
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path

OWN = 'ssn_mm'


def shipped(package: str, kind: str, name: str) -> Path:
    """The path of a file that an installed package ships for its users.

    Args:
        package: The package's import name, such as 'mmseg'.
        kind: 'configs' or 'tools'.
        name: The file's path within these, with its suffix.

    Raises:
        FileNotFoundError: There is no such package or file; names files that are called alike.
    """
    spec = find_spec(package) if package.isidentifier() else None
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f'{package}::{name}: no package {package!r} is installed')
    home = Path(spec.origin).parent
    folder = home / '.mim' / kind
    if package == OWN and not folder.is_dir():
        folder = home.parent / kind  # a checkout has them beside the package
    if (folder / name).is_file():
        return folder / name
    there = {file.stem: file.relative_to(folder).as_posix() for file in _named(folder, kind)}
    alike = [there[n] for n in get_close_matches(Path(name).stem, there)]
    hint = f'did you mean {", ".join(alike)}?' if alike else f'look in {folder}'
    raise FileNotFoundError(f'{package}::{name}: no such file among its {kind}; {hint}')


def _named(folder: Path, kind: str) -> Iterator[Path]:
    """The files that somebody may mean: all configs; of tools the commands, not what they share."""
    for file in folder.rglob('*.*'):
        is_command = file.suffix == '.py' and not file.name.startswith('_')
        if file.is_file() and (kind != 'tools' or is_command):
            yield file
