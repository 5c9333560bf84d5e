"""Recipes from a search: python tools/analysis_tools/pick_recipes.py configs/suites/SEARCH.py"""

import argparse
from pathlib import Path

from ssn_mm.cli.analysis_tools import pick_recipes
from ssn_mm.cli.results import add_suites_dir
from ssn_mm.cli.tool import run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Write the best variant of each norm of a search, whose variants are recipes, '
        'into a JSON file that other suites name as their recipes, and print each with what it '
        'reached. Every norm must have been tried with every variant.'
    )
    parser.add_argument('suite', type=Path, help='suite file of the search')
    parser.add_argument(
        '--results',
        type=Path,
        metavar='FILE',
        help="its results.jsonl of tools/run_suite.py (default: those of the suite's work dir)",
    )
    add_suites_dir(parser)
    parser.add_argument(
        '--out', type=Path, required=True, metavar='FILE', help='JSON file of recipes to write'
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    pick_recipes(args.suite, args.results, args.out, args.work_dir)


if __name__ == '__main__':
    run_tool(main)
