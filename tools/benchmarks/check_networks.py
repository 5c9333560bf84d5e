"""Converts, trains, freezes and folds networks of other libraries; prints a page about it.

    python tools/benchmarks/check_networks.py > docs/convert/networks.md

The tests do the same with each, see tests/helpers/architectures.py. It takes two minutes.
"""

import argparse
import platform
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.progress import track

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / 'tests/helpers'))
warnings.simplefilter('ignore')
from architectures import check, names  # noqa: E402

from ssn_mm.timing.tables import Table  # noqa: E402

TEXT = """# Networks that were converted

Each network had random weights and running statistics, in float64, and was called with two inputs
of noise. Differences are the largest of its outputs, relative to the largest output, in evaluation:
after `convert_norms`, of what it gave before; then frozen and folded, of what it gave with the same
selection, over one selection a normalizer and a mix of all. One step of training after `let_go`
moved the ratios of every layer that the network used. Norms that are left are those on tokens.
Written by `python tools/benchmarks/check_networks.py` with {versions}.

{table}
"""


def main() -> None:
    """Checks the networks that are named, or all, and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'networks', nargs='*', help='names of networks, such as resnet18; default all'
    )
    wanted = parser.parse_args().networks
    known = names()
    if unknown := sorted(set(wanted) - {name for _, name in known}):
        parser.error(
            f'unknown networks {", ".join(unknown)}; there are {", ".join(n for _, n in known)}'
        )
    lines = []
    chosen = [(library, name) for library, name in known if not wanted or name in wanted]
    for library, name in track(chosen, 'networks', console=Console(stderr=True)):
        found = check(library, name)
        norms = ', '.join(f'{count} {kind}' for kind, count in found['norms'].items())
        differences = [f'{found[key]:.0e}' for key in ('kept', 'frozen', 'folded')]
        left = sum(found['norms'].values()) - found['converted']
        lines.append([name, library, norms, found['converted'], left, *differences])
    head = ['network', 'library', 'norms', 'converted', 'left', 'kept', 'frozen', 'folded']
    libraries = sorted({library for library, _ in chosen} | {'torch'})
    versions = ', '.join(f'{name} {version(name.replace("_", "-"))}' for name in libraries)
    versions += f', Python {platform.python_version()}'
    print(TEXT.format(versions=versions, table=Table(head, lines)), end='')


if __name__ == '__main__':
    main()
