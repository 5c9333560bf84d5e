"""Finds what is named `package::file`: our configs as bases of others, every library's tools."""

from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path

from mmengine.config import Config

OWN = 'ssn_mm'
_mmengines = Config._get_cfg_path


def apply() -> None:
    """Lets `_base_ = ['ssn_mm::deeplab_ssn_ade20k.py']` name a config; `import ssn_mm` calls it.

    mmengine knows such names for the packages of a list of its own, where a name must have a
    slash, and would look for the types of such a config in registries of that package.
    """
    Config._get_cfg_path = staticmethod(_get_cfg_path)


def shipped(package: str, kind: str, name: str) -> Path:
    """The path of a file that an installed package ships for its users.

    Args:
        package: Its import name, such as 'mmseg'.
        kind: 'configs' or 'tools'.
        name: Path within these, with its suffix.

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
    there = {p.name: p.relative_to(folder).as_posix() for p in folder.rglob('*.*') if p.is_file()}
    alike = [there[n] for n in get_close_matches(Path(name).name, there)]
    hint = f'did you mean {", ".join(alike)}?' if alike else f'look in {folder}'
    raise FileNotFoundError(f'{package}::{name}: no such file among its {kind}; {hint}')


def _get_cfg_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
    package, found, name = cfg_path.partition('::')
    if found and package == OWN:
        return str(shipped(OWN, 'configs', name)), None  # types: of default_scope, as in the file
    return _mmengines(cfg_path, filename)
