"""Evaluate a checkpoint: python tools/test.py CONFIG CHECKPOINT --tta"""

import argparse

from ssn_mm.cli.arguments import add_cfg_options, add_launcher, add_trust, add_work_dir
from ssn_mm.cli.config import load_config
from ssn_mm.cli.test import evaluate
from ssn_mm.cli.tool import run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Evaluate a checkpoint on a config's test data, else on its validation data."
    )
    parser.add_argument('config', help='config file the model was trained with')
    parser.add_argument('checkpoint', help='checkpoint file')
    add_work_dir(parser)
    parser.add_argument(
        '--out',
        help='segmentation: folder for the predicted label maps; otherwise: file for the '
        'pickled predictions, .pkl (default: neither)',
    )
    parser.add_argument('--show-dir', help='folder for pictures of the predictions (default: none)')
    parser.add_argument(
        '--tta',
        action='store_true',
        help="average over the config's tta_pipeline (multi-scale for segmentation; mmpretrain: a "
        'picture and its mirror image, where the config says nothing else)',
    )
    add_cfg_options(parser, ', such as test_dataloader.num_workers=0')
    add_launcher(parser, 'tools/dist_test.sh')
    add_trust(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = load_config(args.config, args.work_dir, args.cfg_options, args.launcher)
    evaluate(cfg, args.checkpoint, tta=args.tta, out=args.out, show_dir=args.show_dir)


if __name__ == '__main__':
    run_tool(main)
