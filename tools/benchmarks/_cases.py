"""What the benchmarks share: their arguments, and the loop over the cases that they time."""

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from _competitors import BASELINES, ROOT, add_layer_arguments, read_competitors
from rich.console import Console
from rich.progress import Progress

from ssn_mm.commands import command, short
from ssn_mm.files import check_writes
from ssn_mm.timing.rounds import Competitor, measure
from ssn_mm.timing.rows import Timings, environment, file_name, write_timings
from ssn_mm.timing.tables import case_table, describe, grouped, mean_table


def parse(
    parser: argparse.ArgumentParser,
    *,
    rounds: int,
    seconds: float,
    smoke: Mapping[str, Any],
    layers: bool = True,
    every: bool = False,
) -> argparse.Namespace:
    """Adds the arguments that all benchmarks take, parses and checks them.

    Args:
        parser: A parser that has the tool's own arguments.
        rounds: Default of --rounds.
        seconds: Default of --seconds.
        smoke: Defaults of the tool's own arguments under --smoke.
        layers: Whether normalization layers compete.
        every: Whether by default all contestants do.
    """
    if layers:
        add_layer_arguments(parser, every)
    _add_arguments(parser, rounds, seconds)
    args = parser.parse_args()
    if args.smoke:
        parser.set_defaults(rounds=2, seconds=0.0, **smoke)
        args = parser.parse_args()
    check_positive(parser, args, 'rounds', 'threads')
    if layers:
        try:
            args.competitors = read_competitors(args, every)
        except (FileNotFoundError, ValueError) as error:
            parser.error(str(error))
    if args.device == 'cuda' and not torch.cuda.is_available():
        parser.error('--device cuda: PyTorch sees no GPU; use --device cpu')
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    return args


def check_positive(parser: argparse.ArgumentParser, args: argparse.Namespace, *names: str) -> None:
    """Ends the program with a message if one of these arguments is given and below 1."""
    for name in names:
        if (value := getattr(args, name)) is not None and value < 1:
            parser.error(f'--{name} must be at least 1, got {value}')


def _add_arguments(parser: argparse.ArgumentParser, rounds: int, seconds: float) -> None:
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu', help='default: cpu')
    parser.add_argument(
        '--threads', type=int, help="CPU threads within an operation (default: PyTorch's)"
    )
    parser.add_argument(
        '--rounds',
        type=int,
        default=rounds,
        help=f'smallest number of rounds a case (default: {rounds})',
    )
    parser.add_argument(
        '--seconds',
        type=float,
        default=seconds,
        help='more rounds follow while they fit into this time, a case; memory and warm-up come '
        f'on top (default: {seconds:g})',
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='seed of data, weights and order (default: 0)'
    )
    parser.add_argument(
        '--smoke',
        action='store_true',
        help='for CI: other defaults, which run everything in seconds and measure nothing; writes '
        'nothing without --out',
    )
    parser.add_argument(
        '--out',
        type=Path,
        help='rows to write, JSON Lines (default: docs/benchmarks/<tool>-<device>.jsonl)',
    )


def time_cases(
    args: argparse.Namespace,
    cases: Iterable[Mapping[str, Any]],
    build: Callable[[Mapping[str, Any]], Mapping[str, Competitor | str]],
    *,
    groups: Iterable[str],
    baselines: tuple[str, ...] = BASELINES,
    unseen: tuple[str, ...] = (),
    unit: str = 'ms',
    finish: Callable[[list[dict[str, Any]]], None] = lambda rows: None,
    **options: Any,
) -> None:
    """Times every case and prints its table, then the geometric means; writes the rows.

    Args:
        args: From :func:`parse`.
        cases: What the competitors work on, as it stands in the rows.
        build: Makes a case's competitors; they are freed before the next case.
        groups: Keys of a case; means are taken within equal values of them.
        baselines: Names of the competitors whose times are denominators of the ratios.
        unseen: Further baselines, which the rows have and the tables leave out.
        unit: Unit of the printed times.
        finish: Adds to a case's rows what only the tool knows.
        **options: Further arguments of :func:`ssn_mm.timing.rounds.measure`.
    """
    check_writes([args.out] if args.out else [])
    tool = Path(sys.argv[0]).stem
    settings = {k: v for k, v in vars(args).items() if k not in ('out', 'contestants')}
    settings |= dict(baselines=list(baselines), groups=list(groups), unit=unit)
    timings = Timings(tool, environment(args.device, args.seed), settings, [])
    print(', '.join(f'{k} {v}' for k, v in timings.environment.items() if v is not None))
    options = dict(rounds=args.rounds, seconds=args.seconds, seed=args.seed) | options
    cases = list(cases)
    bar = _progress_bar()
    task = bar.add_task(tool, total=len(cases))
    for case in cases:
        with bar:  # gone while the table is printed
            torch.manual_seed(args.seed)
            rows = measure(case, build(case), baselines + unseen, args.device, **options)
            bar.advance(task)
        finish(rows)
        timings.rows.extend(rows)
        print(f'\n{describe(case)}\n\n{case_table(rows, baselines, unit)}', flush=True)
    for name, rows in grouped(timings.rows, groups).items():
        if len(rows) > len({row['competitor'] for row in rows}):  # more cases than one
            print(f'\ngeometric means, {name}\n\n{mean_table(rows, baselines)}')
    _write(timings, args)


def _progress_bar() -> Progress:
    return Progress(
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=True,
        redirect_stdout=False,  # the tables go where the user sends them
        refresh_per_second=1,  # as it takes time from what is measured
    )


def _write(timings: Timings, args: argparse.Namespace) -> None:
    """Writes the rows unless it is a smoke run, and says what to do with them."""
    out = args.out or ROOT / 'docs' / 'benchmarks' / file_name(timings)
    if args.out or not args.smoke:
        write_timings(out, timings)
        default = out.parent == ROOT / 'docs/benchmarks'
        own = [] if default else ['--data', out.parent, '--out', out.parent]
        print(f'\nWritten: {short(out)}. Next:\n    {command("benchmarks/render.py", *own)}')
