"""Runs a script with ssn_mm imported before it: python -m ssn_mm mmseg::train.py CONFIG"""

import re
import runpy
import sys
from pathlib import Path

from .cli.tool import run_tool
from .renamed import TOOLS
from .shipped import OWN, shipped

USAGE = """usage: python -m ssn_mm SCRIPT [arguments of SCRIPT]

Runs a Python script with ssn_mm imported before it, so that OpenMMLab's tools start where they
need ssn_mm's repairs, and configs may inherit from ssn_mm::.

SCRIPT is a file, or PACKAGE::TOOL for a tool that an installed package ships. An argument
PACKAGE::CONFIG becomes the path of a config that an installed package ships:
    python -m ssn_mm ssn_mm::train.py ssn_mm::demo/deeplab_ssn_digits.py
    python -m ssn_mm mmseg::train.py CONFIG --work-dir FOLDER
    python -m ssn_mm mmpretrain::test.py CONFIG CHECKPOINT
    torchrun --nproc-per-node=2 -m ssn_mm ssn_mm::train.py CONFIG --launcher pytorch"""


def find_script(name: str) -> Path:
    """The script that the first word of a command names.

    Raises:
        FileNotFoundError: There is no such script, or it has another name now.
    """
    package, found, tool = name.partition('::')
    if package == OWN and tool in TOOLS:
        raise FileNotFoundError(f'{name} is now {OWN}::{TOOLS[tool]}, see CHANGELOG.md')
    path = shipped(package, 'tools', tool) if found else Path(name)
    if path.suffix != '.py' or not path.is_file():
        raise FileNotFoundError(f'no Python script {name!r}; give a file or PACKAGE::TOOL')
    return path


def find_config(argument: str) -> str:
    """An argument of a command; where it names a config of a package, the config's path."""
    named = re.fullmatch(r'(\w+)::([\w./-]+\.(?:py|json|ya?ml))', argument)
    return str(shipped(named[1], 'configs', named[2])) if named else argument


def main() -> None:
    """Runs the script that the command names, as ``python SCRIPT`` would."""
    if len(sys.argv) < 2 or sys.argv[1] in ('-h', '--help'):
        print(USAGE)
        sys.exit(0 if len(sys.argv) > 1 else 2)
    script = find_script(sys.argv[1])
    sys.argv[:] = [str(script), *map(find_config, sys.argv[2:])]
    sys.path.insert(0, str(script.resolve().parent))  # as python SCRIPT does
    runpy.run_path(str(script), run_name='__main__')


if __name__ == '__main__':
    run_tool(main)
