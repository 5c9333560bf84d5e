"""Check the kernels on a GPU that they never ran on: python tools/benchmarks/gpu_check.py

It needs torch, triton and pytest alone. Each part is a process of its own that ends at its time
limit; a row is written the moment it is known.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

from _gpu_rows import NotHere, Rows, check_rows, count_rows

ROOT = Path(__file__).resolve().parents[2]
# Parts with the seconds that they have, in the order in which they run. Those of one line run side
# by side, since compiling is most of what they do.
PARTS: list[dict[str, float]] = [
    dict(machine=30),
    dict(compile=45),
    {'tests': 140, 'layers float32': 140, 'layers bfloat16': 140, 'layers float16': 140},
    dict(huge=45),
    dict(deterministic=30, sync=30, graph=45),
    dict(torch_compile=60),
    dict(bandwidth=50),
    dict(against_batch_norm=60),
    dict(resnet50=90),
    dict(two_gpus=40),
]
NEED_GPU = (
    *('compile', 'huge', 'sync', 'graph'),
    *('bandwidth', 'against_batch_norm', 'resnet50', 'two_gpus'),
)


def parse_args() -> argparse.Namespace:
    names = [name for group in PARTS for name in group]
    parser = argparse.ArgumentParser(
        description='Try on a GPU what could not be tried without one, most important first: the '
        'tests of the Triton kernels and the time to compile them; layers in three precisions '
        'against float64; a deterministic step; a step that waits for nothing; CUDA graphs and '
        'torch.compile; the bandwidth of each kernel; layers and a ResNet-50 beside batch norm; '
        'two GPUs. Needs torch, triton and pytest alone. Without a GPU it says so, and runs small '
        "cases in Triton's interpreter, which needs NumPy. Exit code 1: something failed."
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('gpu_check.jsonl'),
        help='file that a line of JSON per finding is added to (default: gpu_check.jsonl)',
    )
    parser.add_argument(
        '--seconds', type=float, default=580.0, help='time for all parts together (default: 580)'
    )
    parser.add_argument(
        '--parts', nargs='+', choices=names, metavar='PART', help=f'of {", ".join(names)}'
    )
    parser.add_argument('--part', choices=names, help=argparse.SUPPRESS)  # in this process
    args = parser.parse_args()
    if args.seconds <= 0:
        parser.error(f'--seconds must be positive, got {args.seconds}')
    try:
        check_rows(args.out)
    except (OSError, ValueError) as error:
        parser.error(f'--out {args.out}: {getattr(error, "strerror", None) or error}')
    return args


def main() -> int:
    args = parse_args()
    if args.part:
        return run_part(args.part, Rows(args.out, args.part, args.seconds))
    start, written = time.monotonic(), args.out.stat().st_size if args.out.exists() else 0
    for group in PARTS:
        names = [name for name in group if name in (args.parts or group)]
        left = args.seconds - (time.monotonic() - start)
        run_group({name: min(group[name], left) for name in names}, args.out)
    counts = count_rows(args.out, written)
    print(', '.join(f'{count} {word}' for word, count in counts.items()), f'-> {args.out}')
    return int(counts['failed'] > 0)


def run_part(name: str, rows: Rows) -> int:
    """Runs a part in this process; an error that stops it becomes a row."""
    try:
        import torch

        if not torch.cuda.is_available():
            if name in NEED_GPU:
                raise NotHere('needs a GPU')
            os.environ.setdefault('TRITON_INTERPRET', '1')  # read when triton is imported
            torch.set_num_threads(1)  # of a busy machine's cores each would wait for the others
        import _gpu_parts
        import _gpu_timing

        kind, *rest = name.split()
        (getattr(_gpu_parts, kind, None) or getattr(_gpu_timing, kind))(rows, *rest)
    except NotHere as reason:
        rows.write('', None, str(reason))
    except Exception:
        rows.write('', False, traceback.format_exc()[-2000:])
        return 1
    return 0


def run_group(limits: dict[str, float], out: Path) -> None:
    """Runs parts side by side, each in a process that is killed at its limit in seconds."""
    paths = [str(ROOT), str(ROOT / 'tests'), os.environ.get('PYTHONPATH', '')]
    own = dict(CUBLAS_WORKSPACE_CONFIG=':4096:8', PYTHONPATH=os.pathsep.join(filter(None, paths)))
    running, end = {}, {name: time.monotonic() + limit for name, limit in limits.items()}
    for name, limit in limits.items():
        rows = Rows(out, name, limit)
        if limit < 5:
            rows.write('', None, 'not begun: the time is over')
            continue
        command = [sys.executable, '-W', 'ignore', str(Path(__file__).resolve())]
        command += ['--part', name, '--out', str(out), '--seconds', f'{limit:.0f}']
        said = tempfile.TemporaryFile()  # noqa: SIM115, a pipe would fill
        process = subprocess.Popen(
            command, env=os.environ | own, start_new_session=True, stderr=said
        )
        running[name] = rows, process, said
    try:
        for name, (rows, process, said) in running.items():
            try:
                code = process.wait(max(0, end[name] - time.monotonic()))
            except subprocess.TimeoutExpired:
                rows.write('', False, f'not done within {limits[name]:.0f} s')
                continue
            if code not in (0, 1):  # else it has said so itself
                said.seek(0)
                told = said.read().decode(errors='replace')[-1500:]
                rows.write('', False, f'ended with code {code}: {told}')
    finally:
        for _, process, said in running.values():
            said.close()
            if process.poll() is None:
                if sys.platform == 'win32':
                    process.kill()
                else:  # with what it has started itself
                    os.killpg(process.pid, signal.SIGKILL)  # noqa: TID251
                process.wait()


if __name__ == '__main__':
    sys.exit(main())
