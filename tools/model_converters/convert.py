"""Turn another checkpoint into one of a config's network: convert.py CONFIG SOURCE OUT"""

import argparse
from pathlib import Path

from ssn_mm.cli.arguments import add_cfg_options, add_trust
from ssn_mm.cli.config import load_config
from ssn_mm.cli.convert import convert
from ssn_mm.cli.tool import run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Write a checkpoint of CONFIG's network from another one: the authors' SN and "
        "SSN (of a segmentation network encoder and decoder), torchvision's and OpenMMLab's of "
        'BN, GN, IN, SN and SSN, 2D ones for 3D networks, SSN for BN where every layer selected '
        'BN. Prints what was loaded, left at its initial value, and ignored. Trainings take all of '
        "these without conversion, too: init_cfg=dict(type='Pretrained', checkpoint=SOURCE)."
    )
    parser.add_argument('config', help='config file that describes the network')
    parser.add_argument('sources', nargs='+', metavar='source', help='checkpoint files, or parts')
    parser.add_argument('out', type=Path, help='checkpoint to write, .pth or .safetensors')
    parser.add_argument(
        '--bn-ratio',
        type=float,
        metavar='P',
        help='ratio of BN, in (0, 1), that SSN and SN start with where a source has no logits '
        '(default: all normalizers alike)',
    )
    parser.add_argument(
        '--argmax', action='store_true', help='let every SSN select its largest ratios at once'
    )
    parser.add_argument(
        '--num-batches',
        type=int,
        metavar='N',
        help="statistics of the authors' checkpoint are sums over N batches, not yet divided "
        '("batch average")',
    )
    parser.add_argument(
        '--correction',
        type=int,
        choices=(0, 1),
        default=1,
        help="variance of layers of the authors' checkpoint: 1 (default) keeps their unbiased one; "
        "0 is torch's, faster to go on training with, 2 %% less on a 7x7 map",
    )
    add_cfg_options(parser)
    add_trust(parser)
    args = parser.parse_args()
    if args.bn_ratio is not None and not 0 < args.bn_ratio < 1:
        parser.error(f'--bn-ratio takes a number in (0, 1), got {args.bn_ratio}')
    if args.num_batches is not None and args.num_batches < 1:
        parser.error(f'--num-batches takes a number of batches, got {args.num_batches}')
    if args.out.suffix not in ('.pth', '.safetensors'):
        parser.error(f'a checkpoint ends in .pth or .safetensors, got {args.out}')
    return args


def main() -> None:
    args = parse_args()
    report = convert(
        load_config(args.config, options=args.cfg_options),
        args.sources,
        args.out,
        args.bn_ratio,
        args.argmax,
        args.num_batches,
        args.correction,
    )
    print(f'{args.out}: {report}')


if __name__ == '__main__':
    run_tool(main)
