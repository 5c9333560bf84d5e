"""Freeze and export a trained network: python tools/deploy.py CONFIG CHECKPOINT"""

import argparse
from pathlib import Path

from ssn_mm.deploy.run import deploy
from ssn_mm.engine.run import load_config, run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Turn every SSN into the plain layer it selected, and export the network as '
        'a program (torch.export) that runs with PyTorch alone.'
    )
    parser.add_argument('config', help='config file the model was trained with')
    parser.add_argument('checkpoint', help='checkpoint file; every SSN has chosen')
    parser.add_argument('--out', type=Path, help='program to write (default: CHECKPOINT.pt2)')
    parser.add_argument(
        '--shape',
        type=int,
        nargs='+',
        metavar='SIZE',
        help='height and width of the input in pixels, for videos the frames of a clip before '
        'them (default: that of the training, where the config tells it)',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    out = args.out or Path(args.checkpoint).with_suffix('.pt2')
    deploy(load_config(args.config), args.checkpoint, out, args.shape)


if __name__ == '__main__':
    run_tool(main)
