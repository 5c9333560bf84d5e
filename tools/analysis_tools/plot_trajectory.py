"""Draw paths on the simplex: python tools/analysis_tools/plot_trajectory.py work_dirs/RUN"""

import argparse
from pathlib import Path

from ssn_mm.cli.tool import run_tool
from ssn_mm.engine import read_ratios
from ssn_mm.files import check_folder
from ssn_mm.suites.unfinished import unselected
from ssn_mm.visualization.ratio_figures import plot_trajectory


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Draw the path of layers' ratios on the simplex over a training (the paper's "
        'figure 6), as PNG with its data as CSV. For layers of three normalizers.'
    )
    parser.add_argument('run', type=Path, help='work dir of a training, or its ssn_ratios.jsonl')
    parser.add_argument(
        '--layers', nargs='+', metavar='NAME', help='layers (default: five, evenly spaced)'
    )
    parser.add_argument('--out', type=Path, help='folder (default: figures/ in the work dir)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    out = args.out or (args.run if args.run.is_dir() else args.run.parent) / 'figures'
    check_folder(out)
    run = read_ratios(args.run)
    print(f'Written: {plot_trajectory(run, args.layers).write(out)[0]}', *unselected(run), sep='\n')


if __name__ == '__main__':
    run_tool(main)
