"""Draw layers' ratios: python tools/analysis_tools/plot_ratios.py work_dirs/deeplab_ssn_digits"""

import argparse
from pathlib import Path

from ssn_mm.cli.analysis_tools import plot_ratios
from ssn_mm.cli.tool import run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Draw the ratios of every SSN or SN layer of a training, as PNG with its data '
        'as CSV: network (what each layer selected), progress (radius and selection over the '
        'training), layers (ratios at the end; of several trainings one below the other).'
    )
    parser.add_argument(
        'runs', type=Path, nargs='+', help='work dirs of trainings, or their ssn_ratios.jsonl'
    )
    parser.add_argument('--out', type=Path, help='folder (default: figures/ in the first work dir)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    plot_ratios(args.runs, args.out)


if __name__ == '__main__':
    run_tool(main)
