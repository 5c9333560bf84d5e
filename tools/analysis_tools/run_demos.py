"""Train the demos with several seeds: python tools/analysis_tools/run_demos.py --seeds 0 1 2"""

import argparse
import sys
from pathlib import Path

from ssn_mm.analysis.benchmark_rows import write_atomically
from ssn_mm.analysis.demos import COMMAND, append_rows, make_page, read_rows, run_demos
from ssn_mm.engine.run import run_tool

ROOT = Path(__file__).resolve().parents[2]
SSN = ('deeplab_ssn_digits', 'resnet_ssn_digits', 'i3d_ssn_digits')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Train demos with several seeds and add what they reach to the rows of '
        'docs/demos.md. Runs that have finished are not repeated.'
    )
    add = parser.add_argument
    add('configs', nargs='*', type=Path, help='configs (default: the three SSN demos)')
    add('--all', action='store_true', help='all demos, of every norm')
    add('--seeds', nargs='+', type=int, default=[0, 1, 2], help='(default: 0 1 2)')
    add(
        '--work-dir',
        type=Path,
        default=Path('work_dirs/demos'),
        help='folder for the runs (default: work_dirs/demos)',
    )
    add('--docs', type=Path, default=ROOT / 'docs', help="(default: the repository's)")
    add('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='as of tools/train.py')
    add('--render', action='store_true', help='train nothing; make demos.md of the rows')
    add(
        '--check',
        action='store_true',
        help='train and write nothing; exit code 1 if demos.md is not of the rows',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    data, page = args.docs / 'demos/demos.jsonl', args.docs / 'demos.md'
    if not args.render and not args.check:
        demos = ROOT / 'configs/demo'
        configs = args.configs or [demos / f'{name}.py' for name in SSN]
        configs = sorted(demos.glob('[!_]*.py')) if args.all else configs
        train = ROOT / 'tools/train.py'
        if gone := [str(config) for config in configs if not config.is_file()]:
            raise FileNotFoundError(f'no config {", ".join(gone)}; see configs/demo/')
        append_rows(data, run_demos(configs, args.seeds, args.work_dir, train, args.cfg_options))
    text = make_page(read_rows(data))
    if not args.check:
        write_atomically(page, text.encode())
        print(f'Written: {page}')
    elif not page.is_file() or page.read_text(encoding='utf-8') != text:
        sys.exit(f'{page} differs from the rows in {data}: run {COMMAND} --render')
    else:
        print(f'{page} is that of the rows in {data}')


if __name__ == '__main__':
    run_tool(main)
