"""Verify a dataset before a long training: python tools/check_data.py CONFIG"""

import argparse
from pathlib import Path

from ssn_mm.cli.arguments import add_cfg_options
from ssn_mm.cli.check_data import check_data
from ssn_mm.cli.config import load_config
from ssn_mm.cli.tool import run_tool
from ssn_mm.datasets.check.checks import SPLITS


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Read every sample of a config by its own pipeline, as its training will, all '
        'frames of videos included, and report missing, empty, unreadable and truncated files, '
        'labels that are no class, annotations that are missing or of another size than their '
        'image, classes that never occur or are numbered otherwise in another split, duplicates '
        'in lists, and whatever else would stop the training; with the number of images, pixels '
        'or videos of each class. Notes tell what a training does not mind: files that two splits '
        'share or that nothing reads, videos of one frame; and what only its owner can tell: lossy '
        'annotations, annotations that are not turned as their pictures are.',
        epilog='exit code: 0 no fault, 1 faults, 2 the command, the config or a whole dataset '
        'is wrong or missing; notes are no faults',
    )
    parser.add_argument('config', help='config file, such as configs/deeplab_ssn_ade20k.py')
    add_cfg_options(parser, ', such as train_dataloader.dataset.data_root=FOLDER')
    parser.add_argument(
        '--split', nargs='+', choices=SPLITS, help='what to check (default: all the config has)'
    )
    parser.add_argument(
        '--workers', type=int, metavar='N', help='processes (default: as many as CPU cores)'
    )
    parser.add_argument(
        '--limit',
        type=int,
        metavar='N',
        help='decode N samples of a dataset, evenly spread; lists are checked in full',
    )
    parser.add_argument(
        '--json',
        type=Path,
        metavar='FILE',
        help='write all counts and faults there (default: print only)',
    )
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    cfg = load_config(args.config, options=args.cfg_options)
    return check_data(cfg, args.split, args.workers, args.limit, args.json)


if __name__ == '__main__':
    run_tool(main)
