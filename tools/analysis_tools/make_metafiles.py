"""Render metafiles, model-index.yml and the READMEs' tables from configs/results.yml."""

import argparse
from pathlib import Path

from ssn_mm.cli.analysis_tools import make_metafiles
from ssn_mm.cli.tool import run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--configs',
        type=Path,
        default=Path(__file__).parents[2] / 'configs',
        help="the folder that holds results.yml (default: the repository's)",
    )
    parser.add_argument(
        '--check', action='store_true', help='write nothing; exit with 1 if a file is out of date'
    )
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    return make_metafiles(args.configs, args.check)


if __name__ == '__main__':
    run_tool(main)
