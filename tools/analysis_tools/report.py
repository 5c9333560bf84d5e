"""Write a page of results: python tools/analysis_tools/report.py configs/suites/table2_digits.py"""

import argparse
from pathlib import Path

from ssn_mm.cli.tool import run_tool
from ssn_mm.files import check_folder
from ssn_mm.suites.sources import add_source, read_source
from ssn_mm.suites.tables import notes
from ssn_mm.visualization.report import write_report


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
    results, folder = read_source(args.source, args.work_dir)
    out = args.out or folder / 'report'
    check_folder(out)
    print(f'Written: {write_report(results, out)}', *notes(results), sep='\n')


if __name__ == '__main__':
    run_tool(main)
