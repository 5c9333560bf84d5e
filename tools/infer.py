"""Run a trained network on pictures or videos: python tools/infer.py CONFIG WEIGHTS INPUT"""

import argparse
from pathlib import Path

import ssn_mm.cli  # noqa: F401, says what the environment lacks, so before it

# isort: split
from ssn_mm.apis import Predictor
from ssn_mm.cli.arguments import add_cfg_options, add_trust
from ssn_mm.cli.config import load_config
from ssn_mm.cli.infer import infer
from ssn_mm.cli.tool import run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Run a trained network on pictures, videos or a webcam: overlays to look at, '
        'label maps for segmentation, and all labels with their scores as predictions.json. The '
        "config's own loading step and test pipeline are used, so that labels equal a test's.",
        epilog='exit code: 0 everything was looked at, 1 an input could not be read (it is named, '
        'the others are done), 2 the command, the config or the weights are wrong',
    )
    parser.add_argument('config', help='config file the network was trained with')
    parser.add_argument(
        'weights',
        help='checkpoint, frozen or not; or what tools/deploy.py wrote: .onnx, .xml of OpenVINO, '
        'or .pt2, which may run code when it is loaded and needs --trust-checkpoint',
    )
    parser.add_argument(
        'inputs',
        nargs='+',
        metavar='INPUT',
        help='picture, video, folder of them, or number of a webcam (Ctrl-C ends it); folder of '
        "frames, where the config's pipeline reads these",
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('predictions'),
        help='folder to write (default: predictions)',
    )
    parser.add_argument(
        '--batch-size',
        type=int,
        default=8,
        help='pictures, frames or videos at a time (default: 8)',
    )
    parser.add_argument('--top-k', type=int, default=5, help='classes to name (default: 5)')
    parser.add_argument(
        '--frames',
        type=int,
        metavar='N',
        help='evenly spaced frames of a video that a network for pictures sees (default: all); of '
        'a webcam the first N (default: until Ctrl-C)',
    )
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu', help='default: cpu')
    add_cfg_options(parser)
    add_trust(parser)
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    predictor = Predictor(
        load_config(args.config, options=args.cfg_options), args.weights, args.device
    )
    errors = infer(predictor, args.inputs, args.out, args.batch_size, args.top_k, args.frames)
    return 1 if errors else 0


if __name__ == '__main__':
    run_tool(main)
