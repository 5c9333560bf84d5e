"""Train and compare a grid of configs: python tools/benchmark.py SUITE"""

import argparse
import sys
from pathlib import Path

from mmengine.config import DictAction
from rich.console import Console

from ssn_mm.analysis.suite import read_suite
from ssn_mm.analysis.suite_report import Board, make_table
from ssn_mm.analysis.suite_run import run_suite
from ssn_mm.engine.run import run_tool

TRAIN = Path(__file__).with_name('train.py')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Train every config of a suite with every variant and seed, and print what '
        "they reached beside the paper's numbers. Runs that are done are not repeated, those that "
        'were cut short start anew, those that fail are recorded and the others go on. Start it '
        'again after any interruption.',
        epilog='exit code: 0 all is done, 1 runs failed, 2 the command or the suite is wrong, or '
        'results are of another version, 130 interrupted',
    )
    parser.add_argument('suite', type=Path, help='suite file, see configs/suites/')
    parser.add_argument(
        '--work-dir',
        type=Path,
        default=Path('work_dirs/suites'),
        help='folder of all suites (default: work_dirs/suites)',
    )
    parser.add_argument('--jobs', type=int, default=1, metavar='N', help='at a time (default: 1)')
    parser.add_argument(
        '--cluster', choices=('local', 'slurm'), default='local', help='default: local'
    )
    parser.add_argument(
        '--cluster-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help="submitit's parameters, such as slurm_partition=gpu gpus_per_node=8 timeout_min=600",
    )
    parser.add_argument(
        '--stale',
        choices=('refuse', 'keep', 'rerun'),
        default='refuse',
        help='what to do with results of another code, config or PyTorch (default: refuse)',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    suite = read_suite(args.suite)
    folder = args.work_dir / suite.name
    with Board(suite, Console(stderr=True)) as board:
        results = run_suite(
            suite,
            folder,
            [sys.executable, str(TRAIN)],
            args.jobs,
            args.cluster,
            args.cluster_options,
            args.stale,
            board.show,
        )
    print(make_table(suite, results))
    failed = [result for result in results if result['status'] == 'failed']
    for result in failed:
        last = '\n    '.join(result['last_lines'])
        print(f'\n{result["run"]} failed, {result["error"]}:\n    {last}', file=sys.stderr)
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    run_tool(main)
