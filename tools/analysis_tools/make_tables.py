"""Tables of results: python tools/analysis_tools/make_tables.py configs/suites/table2_digits.py"""

import argparse
import sys
from pathlib import Path

from ssn_mm.cli.tool import run_tool
from ssn_mm.commands import command
from ssn_mm.files import check_writes, write_atomically
from ssn_mm.suites.sources import WORK_DIR, add_source, read_source
from ssn_mm.suites.tables import fill_page, notes, tables


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Print the tables of a training or a suite as Markdown: mean and standard '
        "deviation over seeds beside the paper's, differences with their significance, costs.",
        epilog='exit code: 1 if a page given with --check differs from the results',
    )
    add_source(parser)
    parser.add_argument(
        '--into',
        type=Path,
        metavar='PAGE',
        help='put them into a Markdown page, each between <!-- NAME: TITLE --> and <!-- end -->, '
        'NAME being that of the results',
    )
    parser.add_argument('--check', action='store_true', help='with --into: compare, write nothing')
    args = parser.parse_args()
    if args.check and not args.into:
        parser.error('--check needs --into')
    return args


def main() -> None:
    args = parse_args()
    results, _ = read_source(args.source, args.work_dir)
    if not args.into:
        for title, (text, note) in tables(results).items():
            print(f'## {title}\n\n{text}\n\n{note}\n')
        print('\n'.join(notes(results)))
        return
    check_writes([] if args.check else [args.into], [args.source])
    old = args.into.read_text(encoding='utf-8')
    new = fill_page(old, results)
    if args.check and new != old:
        own = [] if args.work_dir == WORK_DIR else ['--work-dir', args.work_dir]
        again = command('analysis_tools/make_tables.py', args.source, *own, '--into', args.into)
        sys.exit(f'{args.into} differs from {args.source}; run\n    {again}')
    if not args.check:
        write_atomically(args.into, new.encode())


if __name__ == '__main__':
    run_tool(main)
