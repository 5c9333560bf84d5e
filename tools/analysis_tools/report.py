"""Write a page of results: python tools/analysis_tools/report.py configs/suites/table2_digits.py"""

import argparse
from pathlib import Path

from ssn_mm.cli.analysis_tools import report
from ssn_mm.cli.results import add_source, norms_of
from ssn_mm.cli.tool import run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Write one self-contained HTML page of a training or a suite, and its figures '
        'as PNG and CSV: results over seeds beside the paper, curves, average importance '
        'ratios, ratios layer by layer, paths on the simplex, the network by what it selected, '
        'time, memory.'
    )
    add_source(parser)
    parser.add_argument('--out', type=Path, help='folder (default: report/ beside the results)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    report(args.source, args.work_dir, args.out, norms_of(args))


if __name__ == '__main__':
    run_tool(main)
