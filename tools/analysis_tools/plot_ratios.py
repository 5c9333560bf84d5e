"""Draw how layers chose: python tools/analysis_tools/plot_ratios.py work_dirs/deeplab_ssn_digits"""

import argparse
from pathlib import Path

from ssn_mm.analysis import plot_ratios, read_ratios
from ssn_mm.engine.run import run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Draw the ratios of every SSN layer: over the training, and at its end.'
    )
    parser.add_argument('run', type=Path, help='work dir of a training, or its ssn_ratios.jsonl')
    parser.add_argument(
        '--out', type=Path, help='picture to write, .png, .pdf or .svg (default: RUN/ratios.png)'
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    folder = args.run if args.run.is_dir() else args.run.parent
    print(f'Written: {plot_ratios(read_ratios(args.run), args.out or folder / "ratios.png")}')


if __name__ == '__main__':
    run_tool(main)
