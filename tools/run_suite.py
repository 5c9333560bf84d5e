"""Train and compare a grid of configs: python tools/run_suite.py configs/suites/table2_digits.py"""

import argparse
from pathlib import Path

from ssn_mm.cli.arguments import KeyValues
from ssn_mm.cli.results import add_norms, add_suites_dir, norms_of
from ssn_mm.cli.run_suite import run_suite
from ssn_mm.cli.tool import run_tool
from ssn_mm.suites.queue import Machine
from ssn_mm.suites.runs import STALE


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
    add_suites_dir(parser)
    add_norms(parser)
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


def main() -> int:
    args = parse_args()
    machine = Machine(args.jobs, args.cluster, args.cluster_options)
    norms = norms_of(args)
    return run_suite(args.suite, machine, args.gpus, args.stale, args.work_dir, args.out, norms)


if __name__ == '__main__':
    run_tool(main)
