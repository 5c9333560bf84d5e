"""All runs in one table: python tools/analysis_tools/tidy_results.py docs/study/*/results.jsonl"""

import argparse
from pathlib import Path

from ssn_mm.cli.results import add_suites_dir
from ssn_mm.cli.study import tidy_results
from ssn_mm.cli.tool import run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Write all runs of a study, a run a line, into one CSV and one Parquet file, '
        'and a page that sorts and filters them in the browser. ssn_mm.suites.load_results() reads '
        'either file.'
    )
    parser.add_argument(
        'sources',
        type=Path,
        nargs='+',
        help='suite files, or results.jsonl of tools/run_suite.py',
    )
    add_suites_dir(parser)
    parser.add_argument(
        '--out',
        type=Path,
        required=True,
        metavar='FILE',
        help='CSV file to write; .parquet and .html lie beside it',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    tidy_results(args.sources, args.out, args.work_dir)


if __name__ == '__main__':
    run_tool(main)
