"""Draw paths on the simplex: python tools/analysis_tools/plot_trajectory.py work_dirs/RUN"""

import argparse
from pathlib import Path

from ssn_mm.cli.analysis_tools import plot_paths
from ssn_mm.cli.tool import run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Draw the path of layers' ratios on the simplex over a training (the paper's "
        'figure 6), as PNG with its data as CSV. For layers of three normalizers.'
    )
    parser.add_argument(
        'runs',
        type=Path,
        nargs='+',
        help='work dirs of trainings, such as of SN and SSN, or their ssn_ratios.jsonl',
    )
    parser.add_argument(
        '--layers', nargs='+', metavar='NAME', help='layers (default: five, evenly spaced)'
    )
    parser.add_argument('--out', type=Path, help='folder (default: figures/ in the first work dir)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    plot_paths(args.runs, args.layers, args.out)


if __name__ == '__main__':
    run_tool(main)
