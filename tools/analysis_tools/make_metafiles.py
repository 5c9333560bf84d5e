"""Render metafiles, model-index.yml and the READMEs' tables from configs/results.yml."""

import argparse
import sys
from pathlib import Path

from ssn_mm.cli.tool import run_tool
from ssn_mm.commands import command
from ssn_mm.files import write_atomically
from ssn_mm.suites.metafiles import render


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--configs',
        type=Path,
        default=Path(__file__).parents[2] / 'configs',
        help="the folder that holds results.yml (default: the repository's)",
    )
    parser.add_argument(
        '--check', action='store_true', help='write nothing; exit with 1 if a file is out of date'
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    files = render(args.configs)
    old = [
        p for p, text in files.items() if not p.is_file() or p.read_text(encoding='utf-8') != text
    ]
    for path in old:
        if not args.check:
            write_atomically(path, files[path].encode())
        print(f'{"out of date" if args.check else "written"}: {path}')
    if args.check and old:
        again = command('analysis_tools/make_metafiles.py', '--configs', args.configs)
        sys.exit(f'{len(old)} files differ from {args.configs / "results.yml"}; run\n    {again}')


if __name__ == '__main__':
    run_tool(main)
