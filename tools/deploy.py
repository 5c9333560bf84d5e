"""Freeze, fold and export a trained network: python tools/deploy.py CONFIG CHECKPOINT"""

import argparse
from pathlib import Path

from ssn_mm.cli.arguments import add_cfg_options, add_trust
from ssn_mm.cli.config import load_config
from ssn_mm.cli.deploy import Wanted, deploy
from ssn_mm.cli.tool import run_tool
from ssn_mm.deploy import TOLERANCES
from ssn_mm.deploy.verify_tiles import window_of


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Turn every SSN into the plain layer it selected, fold those that selected '
        'batch norm into the convolutions before them, and export the network as a program '
        '(torch.export) that runs with PyTorch alone, if asked for as ONNX or for OpenVINO, too. '
        'Writes the '
        'frozen checkpoint beside the program; prints what each layer became, sizes and speed.'
    )
    parser.add_argument('config', help='config file the model was trained with')
    parser.add_argument(
        'checkpoint', help='checkpoint file; every SSN has selected its normalizers'
    )
    parser.add_argument(
        '--out',
        type=Path,
        help='program to write, and beside it .frozen.pth (default: CHECKPOINT without .pth, .pt2)',
    )
    parser.add_argument('--onnx', type=Path, metavar='F', help='ONNX file to write (default: none)')
    parser.add_argument(
        '--openvino',
        type=Path,
        metavar='F',
        help="OpenVINO's file to write, .xml, with the .bin beside it (default: none)",
    )
    parser.add_argument(
        '--precision',
        choices=TOLERANCES,
        default='float32',
        help='what the programs compute in; norms stay in float32, and so do inputs, outputs and '
        'the frozen checkpoint (default: float32)',
    )
    parser.add_argument(
        '--calibrate',
        type=int,
        default=64,
        metavar='N',
        help='training samples on which int8 measures the ranges of its maps (default: 64)',
    )
    parser.add_argument(
        '--prefer',
        choices=['BN'],
        help='say what layers that selected another normalizer cost, and what batch norm in their '
        'place would save',
    )
    parser.add_argument(
        '--preprocess',
        action='store_true',
        help='let the programs take pixels from 0 to 255 (float32, channels in the order that the '
        'test pipeline loads them in) and normalize them as the config does',
    )
    parser.add_argument(
        '--verify',
        type=int,
        nargs='?',
        const=16,
        default=0,
        metavar='N',
        help='compare outputs and labels of all networks on N samples of the test data (default: '
        '16), else of the validation data, else on photographs',
    )
    parser.add_argument(
        '--slide',
        type=int,
        nargs='*',
        metavar='PIXELS',
        help='have --verify compare sliding windows with whole pictures, and name the layers that '
        "change labels: height and width of a window, and its stride (default: the config's, or "
        'the size of its training, and two thirds of that); without --slide it does so if the '
        'config tests in sliding windows',
    )
    parser.add_argument(
        '--evaluate',
        action='store_true',
        help='evaluate all networks on the whole test data, else on the validation data',
    )
    parser.add_argument(
        '--force',
        action='store_true',
        help='let an SSN that has not selected yet take its largest ratios; says which did',
    )
    parser.add_argument(
        '--shape',
        type=int,
        nargs='+',
        metavar='SIZE',
        help='height and width of a typical input in pixels, for videos the frames of a clip '
        'before them (default: that of the training, where the config tells it)',
    )
    parser.add_argument(
        '--seconds', type=float, default=5.0, help='how long the networks are timed (default: 5)'
    )
    add_cfg_options(parser)
    add_trust(parser)
    args = parser.parse_args()
    if args.verify < 0:
        parser.error(f'--verify takes a number of samples, got {args.verify}')
    if args.calibrate < 1:
        parser.error(f'--calibrate takes a number of samples above 0, got {args.calibrate}')
    if args.slide is not None and not args.verify:
        parser.error('--slide says what --verify compares; add --verify')
    return args


def main() -> None:
    args = parse_args()
    out = args.out or Path(args.checkpoint).with_suffix('.pt2')
    cfg = load_config(args.config, options=args.cfg_options)
    window = window_of(cfg, args.slide) if args.verify else None
    files, options = (args.onnx, args.openvino), (args.calibrate, args.prefer)
    wanted = Wanted(*files, args.precision, args.preprocess, *options)
    deployed = deploy(cfg, args.checkpoint, out, args.shape, args.force, wanted)
    if args.verify:
        print(deployed.verify(args.verify))
        if said := deployed.verify_tiles(args.verify, window):
            print(said)
    if args.evaluate:
        print(deployed.evaluate())
    print(deployed.speed(args.seconds))
    print(
        f'Run it with PyTorch alone: torch.export.load({str(out)!r}).module()(images); without '
        'ssn_mm but with the config: docs/deploy.md'
    )


if __name__ == '__main__':
    run_tool(main)
