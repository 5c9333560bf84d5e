"""Make a folder to give away: python tools/publish_model.py CHECKPOINT --config CONFIG"""

import argparse
from pathlib import Path

from ssn_mm.cli.arguments import add_trust
from ssn_mm.cli.publish_model import publish_model
from ssn_mm.cli.tool import run_tool
from ssn_mm.publish.publish import FORMATS


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Write the weights of a checkpoint without optimizer and logs, with their hash '
        'in the name; beside them the config, a model card and a metafile entry.'
    )
    parser.add_argument('checkpoint', help='what a training wrote; averaged weights, if it has any')
    parser.add_argument(
        '--config', help='config file the model was trained with (default: the one in CHECKPOINT)'
    )
    parser.add_argument(
        '--out', type=Path, help='folder to make (default: published/<name of the config>)'
    )
    parser.add_argument(
        '--format', choices=FORMATS, default='pth', help='of the weights (default: pth)'
    )
    parser.add_argument(
        '--metrics',
        nargs='+',
        metavar='FILE or NAME=VALUE',
        help='what it reached: JSON as tools/test.py writes it, or numbers (default: what the '
        'work dir of CHECKPOINT logged)',
    )
    parser.add_argument('--force', action='store_true', help='replace the folder if it exists')
    add_trust(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    publish_model(args.checkpoint, args.config, args.out, args.format, args.metrics, args.force)


if __name__ == '__main__':
    run_tool(main)
