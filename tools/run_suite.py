"""Train and compare a grid of configs: python tools/run_suite.py configs/suites/table1_digits.py"""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from ssn_mm.cli.options import KeyValues
from ssn_mm.cli.tool import run_tool
from ssn_mm.commands import command
from ssn_mm.files import check_folder, check_writes
from ssn_mm.suites.job import Commands
from ssn_mm.suites.plan import results_of, take_over
from ssn_mm.suites.progress import Board
from ssn_mm.suites.queue import Machine
from ssn_mm.suites.results import read_results, results_of_suite, write_results
from ssn_mm.suites.run_suite import STALE, run_suite
from ssn_mm.suites.sources import WORK_DIR
from ssn_mm.suites.suite import read_suite
from ssn_mm.suites.tables import failures, mixed, notes, tables

TOOLS = Path(__file__).resolve().parent


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Train every config of a suite with every variant and seed, and print what '
        "they reached beside the paper's numbers. Runs that are done are not repeated, those that "
        'were cut short begin again, those that fail are recorded and the others go on. Start it '
        'again after any interruption.',
        epilog='exit code: 0 all is done, 1 runs failed, 2 the command or the suite is wrong, or '
        'results are of another provenance, 130 interrupted',
    )
    parser.add_argument('suite', type=Path, help='suite file, see configs/suites/')
    parser.add_argument(
        '--work-dir',
        type=Path,
        default=WORK_DIR,
        help=f'folder of all suites (default: {WORK_DIR})',
    )
    parser.add_argument(
        '--out',
        type=Path,
        metavar='FILE',
        help='write the results here, too, as JSON Lines, after every run; results that FILE has '
        'already, and the work dir has not, count as done',
    )
    parser.add_argument(
        '--jobs', type=int, default=1, metavar='N', help='trainings at a time (default: 1)'
    )
    parser.add_argument(
        '--gpus',
        type=int,
        default=0,
        metavar='N',
        help='GPUs of each training (default: none or one)',
    )
    parser.add_argument(
        '--cluster', choices=('local', 'slurm'), default='local', help='default: local'
    )
    parser.add_argument(
        '--cluster-options',
        nargs='+',
        action=KeyValues,
        metavar='KEY=VALUE',
        help="submitit's parameters, such as slurm_partition=gpu gpus_per_node=8 timeout_min=600",
    )
    parser.add_argument(
        '--stale',
        choices=STALE,
        default='refuse',
        help='what to do with results of another code, config or library (default: refuse). '
        'rerun: train them again. keep: mix them with new ones, which tables will say. certify: '
        'of the results that differ in code alone train one again, the cheapest with SSN layers; '
        'if it reaches what is recorded, to the last digit of metrics, curves and ratios, all of '
        "them get today's provenance, beside the one that they were measured with",
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    suite = read_suite(args.suite)
    read = [args.suite, *(run.config for run in suite.runs)]
    check_writes([args.out] if args.out else [], read)
    check_folder(args.work_dir)
    commands = Commands((sys.executable, TOOLS / 'train.py'), (sys.executable, TOOLS / 'test.py'))
    if args.gpus:
        gpus = (str(args.gpus),)
        commands = Commands((TOOLS / 'dist_train.sh',), (TOOLS / 'dist_test.sh',), gpus)
    folder = (args.work_dir / suite.name).resolve()
    if args.out and args.out.is_file():
        take_over(suite, folder, read_results(args.out))
    machine = Machine(args.jobs, args.cluster, args.cluster_options)
    with Board(suite, Console(stderr=True)) as board:

        def tell(states: dict[str, str]) -> None:
            if board.show(states) and args.out:
                write_results(args.out, results_of_suite(suite, results_of(suite, folder)))

        rows = run_suite(suite, folder, commands, machine, args.stale, tell)
    results = results_of_suite(suite, rows)
    if args.out:
        write_results(args.out, results)
    print(results.title)
    for title, (text, note) in tables(results).items():
        print(f'\n{title}\n\n{text}\n\n{note}')
    print('', *mixed(results), *notes(results), sep='\n')
    for name, error, lines in failures(results):
        last = '\n    '.join(lines)
        print(f'\n{name} failed, {error}:\n    {last}', file=sys.stderr)
    own = [] if args.work_dir == WORK_DIR else ['--work-dir', args.work_dir]
    print('Pictures:', command('analysis_tools/report.py', args.suite, *own), sep='\n    ')
    sys.exit(1 if len(results.done) < len(suite.runs) else 0)


if __name__ == '__main__':
    run_tool(main)
