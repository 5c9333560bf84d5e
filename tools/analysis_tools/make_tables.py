"""Tables of results: python tools/analysis_tools/make_tables.py configs/suites/table2_digits.py"""

import argparse
from pathlib import Path

from ssn_mm.cli.analysis_tools import fill_tables, print_tables
from ssn_mm.cli.results import add_source, norms_of
from ssn_mm.cli.tool import run_tool


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


def main() -> int | None:
    args = parse_args()
    if args.into:
        return fill_tables(args.source, args.work_dir, args.into, args.check, norms_of(args))
    return print_tables(args.source, args.work_dir, norms_of(args))


if __name__ == '__main__':
    run_tool(main)
