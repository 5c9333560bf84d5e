"""Recalibrate batch norm's running statistics: python tools/recalibrate.py CONFIG CHECKPOINT"""

import argparse
from pathlib import Path

from ssn_mm.cli.arguments import add_cfg_options, add_launcher, add_trust, add_work_dir
from ssn_mm.cli.config import load_config
from ssn_mm.cli.recalibrate import recalibrate
from ssn_mm.cli.tool import run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Measure the running statistics of batch norm, and of BN in SN and SSN, on '
        'training batches with fixed weights, and write the checkpoint with these.'
    )
    parser.add_argument('config', help='config file the model was trained with')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        '--num-batches',
        type=int,
        default=200,
        metavar='N',
        help='training batches to measure, of all processes together, at most one pass over the '
        'data (default: 200)',
    )
    parser.add_argument(
        '--out', type=Path, help='checkpoint to write (default: CHECKPOINT.recalibrated.pth)'
    )
    parser.add_argument(
        '--in-place', action='store_true', help='write the statistics into CHECKPOINT itself'
    )
    add_work_dir(parser)
    add_cfg_options(parser, ', such as train_dataloader.num_workers=0')
    add_launcher(parser, 'tools/dist_test.sh')
    add_trust(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = load_config(args.config, args.work_dir, args.cfg_options, args.launcher)
    recalibrate(cfg, args.checkpoint, args.out, args.num_batches, args.in_place)


if __name__ == '__main__':
    run_tool(main)
