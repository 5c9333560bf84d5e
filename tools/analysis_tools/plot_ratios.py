"""Draw layers' ratios: python tools/analysis_tools/plot_ratios.py work_dirs/deeplab_ssn_digits"""

import argparse
from pathlib import Path

from ssn_mm.cli.tool import run_tool
from ssn_mm.engine import read_ratios
from ssn_mm.files import check_folder
from ssn_mm.suites.unfinished import unselected
from ssn_mm.visualization.ratio_figures import plot_layers, plot_network, plot_progress


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
    runs = {(p if p.is_dir() else p.parent).resolve().name: read_ratios(p) for p in args.runs}
    if len(runs) < len(args.runs):
        raise ValueError(f'the work dirs must have different names, got {", ".join(runs)} only')
    first = args.runs[0]
    out = args.out or (first if first.is_dir() else first.parent) / 'figures'
    check_folder(out)
    main_run = next(iter(runs.values()))
    for picture in (plot_network(main_run), plot_progress(main_run), plot_layers(runs)):
        print(f'Written: {picture.write(out)[0]}')
    for name, run in runs.items():
        for line in unselected(run):
            print(f'{name}: {line}')


if __name__ == '__main__':
    run_tool(main)
