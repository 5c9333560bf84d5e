"""Time `import ssn_mm`: python tools/benchmarks/bench_import.py"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from ssn_mm.cli.tool import run_tool

ROOT = Path(__file__).parents[2]
CODE = """
import json, sys, time
import torch, mmengine, mmengine.hooks
before, start = set(sys.modules), time.perf_counter()
import ssn_mm
seconds = time.perf_counter() - start
new = set(sys.modules) - before
own = sum(name.partition('.')[0] == 'ssn_mm' for name in new)
print(json.dumps([seconds, own, len(new) - own]))
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Measure what `import ssn_mm` takes beyond `import torch, mmengine` with '
        "mmengine's hooks: the median of seconds over fresh interpreters, and the modules it loads."
    )
    parser.add_argument('--runs', type=int, default=9, help='interpreters (default: 9)')
    args = parser.parse_args()
    if args.runs < 1:
        parser.error(f'--runs must be at least 1, got {args.runs}')
    return args


def measure() -> list:
    """Seconds, modules of ssn_mm and other modules that one fresh interpreter needs."""
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', CODE],
        env=os.environ | {'PYTHONPATH': str(ROOT)},
        check=True,
        stdout=subprocess.PIPE,
        encoding='utf-8',
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    args = parse_args()
    runs = [measure() for _ in range(args.runs)]
    seconds, (_, own, others) = statistics.median(run[0] for run in runs), runs[0]
    print(
        f'{seconds:.3f} s (median of {args.runs} interpreters), '
        f'{own} modules of ssn_mm and {others} others'
    )


if __name__ == '__main__':
    run_tool(main)
