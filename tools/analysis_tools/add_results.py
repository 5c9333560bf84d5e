"""Show somebody's results beside a study: python tools/analysis_tools/add_results.py theirs.csv"""

import argparse
from pathlib import Path

from ssn_mm.cli.study import add_results
from ssn_mm.cli.tool import run_tool
from ssn_mm.suites.study import SHIPPED


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Check somebody's results, put them beside a study, and write its page again, "
        'which shows them apart.'
    )
    parser.add_argument('file', type=Path, help='their file, .csv or .parquet of tidy_results.py')
    parser.add_argument(
        '--study',
        type=Path,
        default=SHIPPED,
        metavar='FILE',
        help="the study's CSV file (default: docs/study/results.csv)",
    )
    parser.add_argument('--name', default='', help="what to call them (default: the file's stem)")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    add_results(args.file, args.study, args.name)


if __name__ == '__main__':
    run_tool(main)
