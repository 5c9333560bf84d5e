"""What the benchmarks share: the competitors' layers, the arguments, the loop over the cases.

The names mean, for a layer and for every layer of a network:

- BN, SyncBN, GN, IN, LN: ``nn.BatchNorm``; ``nn.SyncBatchNorm`` without a process group, which
  is its local path; ``nn.GroupNorm(32)``; ``nn.InstanceNorm(affine=True)``; ``nn.GroupNorm(1)``.
- SN, SSN competing: three normalizers, all ratios positive. SSN's radius is 0.3, inside the
  inscribed circle.
- SSN chose BN: both rows one-hot at BN, at radius 0.9.
- SSN figure 5: every layer one-hot, means and variances chosen apart from each other. The paper's
  figure 5 shows which of the 53 layers of ResNet-50 chose what as bars without numbers, and the
  text says that BN leads at 32 images a GPU. So the shares are an assumption: half BN, a quarter
  IN, a quarter LN, for means and for variances independently. A single layer has mean BN and
  variance LN.
- published: Eq. 1 as plain autograd (tests/references.py) with SparsestMax ratios at radius 0.3.

``[name]`` behind ours says which backend was set; without it the best was taken.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress
from torch import nn

from ssn_mm import SN, SSN, set_radius
from ssn_mm.commands import command, short
from ssn_mm.files import check_writes
from ssn_mm.layers import ssn_layers
from ssn_mm.ops import sparsestmax
from ssn_mm.timing.rounds import Competitor, measure
from ssn_mm.timing.rows import (
    Run,
    case_table,
    describe,
    environment,
    file_name,
    grouped,
    mean_table,
    write_run,
)

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / 'tests'))  # references.py
try:
    from references import switch_norm as published_formula
except ModuleNotFoundError:
    sys.exit('the benchmarks compare with tests/references.py: run them from a checkout')

NORMALIZERS = ('IN', 'LN', 'BN')
THEIRS = ('BN', 'SyncBN', 'GN', 'IN', 'LN')
OURS = ('SN', 'SSN competing', 'SSN chose BN', 'SSN figure 5')
PUBLISHED = 'published'
BASELINES = ('BN', 'GN', PUBLISHED)
# together they give every pair its share once in 16 layers
MEANS = ('BN', 'IN', 'BN', 'LN')
VARIANCES = ('LN', 'BN', 'IN', 'BN')
COMPETING_RADIUS, CHOSEN_RADIUS = 0.3, 0.9
COMPETING_LOGITS = ((1.02, 1.0, 0.98), (0.98, 1.0, 1.02))  # apart, or SSN could not move


class Published(nn.Module):
    """Eq. 1 as it was published, each normalizer measuring the map by itself."""

    _abbr_ = 'bn'  # mmaction2 asks for it

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.ratio_logits = nn.Parameter(torch.tensor(COMPETING_LOGITS))

    def forward(self, x):
        ratios = sparsestmax(self.ratio_logits, COMPETING_RADIUS)
        y = published_formula(x, ratios, NORMALIZERS, self.weight, self.bias, eps=self.eps)
        return y.to(x.dtype)


@torch.no_grad()
def arrange(model: nn.Module, name: str) -> None:
    """Gives every SSN of ``model`` the logits and the radius that the competitor's name says."""
    for index, (_, layer) in enumerate(ssn_layers(model)):
        if name == 'SSN competing':
            logits = torch.tensor(COMPETING_LOGITS)
        else:
            pair = ('BN', 'BN')
            if name == 'SSN figure 5':
                pair = MEANS[index % 4], VARIANCES[index // 4 % 4]
            logits = torch.tensor([[float(n == choice) for n in NORMALIZERS] for choice in pair])
        layer.ratio_logits.copy_(logits)
    set_radius(model, COMPETING_RADIUS if name == 'SSN competing' else CHOSEN_RADIUS)


def build_layer(name: str, num_features: int, rank: int) -> nn.Module:
    """A layer by its competitor's name, for maps of 2 or 3 spatial dimensions.

    Raises:
        ValueError: The layer cannot have so many channels.
    """
    makers: dict[str, Callable[[], nn.Module]] = {
        'BN': lambda: getattr(nn, f'BatchNorm{rank}d')(num_features),
        'SyncBN': lambda: nn.SyncBatchNorm(num_features),
        'GN': lambda: nn.GroupNorm(32, num_features),
        'IN': lambda: getattr(nn, f'InstanceNorm{rank}d')(num_features, affine=True),
        'LN': lambda: nn.GroupNorm(1, num_features),
        'SN': lambda: SN(num_features),
        PUBLISHED: lambda: Published(num_features),
    }
    if name in makers:
        return makers[name]()
    layer = SSN(num_features)
    arrange(layer, name)
    return layer


def named_competitors(
    args: argparse.Namespace, build: Callable[[str, str | None], Competitor | str]
) -> dict[str, Competitor | str]:
    """Calls ``build(name, backend)`` for those that ``--competitors`` and ``--backends`` name."""
    found: dict[str, Competitor | str] = {}
    for name in (*THEIRS, *OURS, PUBLISHED):
        if name in args.competitors:
            for backend in args.backends if name in OURS else ['auto']:
                forced = None if backend == 'auto' else backend
                found[f'{name} [{forced}]' if forced else name] = build(name, forced)
    return found


def parse(
    parser: argparse.ArgumentParser,
    *,
    rounds: int,
    seconds: float,
    smoke: Mapping[str, Any],
    layers: bool = True,
) -> argparse.Namespace:
    """Adds what all benchmarks take, parses, and settles it.

    Args:
        parser: With the tool's own arguments.
        rounds: Default of --rounds.
        seconds: Default of --seconds.
        smoke: The defaults of the tool's own arguments under --smoke.
        layers: Whether normalization layers compete.
    """
    if layers:
        _add_layer_arguments(parser)
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu', help='default: cpu')
    parser.add_argument(
        '--threads', type=int, help="CPU threads within an operation (default: PyTorch's)"
    )
    parser.add_argument(
        '--rounds', type=int, default=rounds, help=f'at least so many a case (default: {rounds})'
    )
    parser.add_argument(
        '--seconds',
        type=float,
        default=seconds,
        help='more rounds follow while they fit into this time, a case; memory and warm-up come '
        f'on top (default: {seconds:g})',
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='of data, weights and order (default: 0)'
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
    args = parser.parse_args()
    if args.smoke:
        parser.set_defaults(rounds=2, seconds=0.0, **smoke)
        args = parser.parse_args()
    if args.rounds < 1:
        parser.error(f'--rounds must be at least 1, got {args.rounds}')
    if args.device == 'cuda' and not torch.cuda.is_available():
        parser.error('--device cuda: PyTorch sees no GPU; use --device cpu')
    if args.threads is not None:
        if args.threads < 1:
            parser.error(f'--threads must be at least 1, got {args.threads}')
        torch.set_num_threads(args.threads)
    return args


def _add_layer_arguments(parser: argparse.ArgumentParser) -> None:
    everyone = (*THEIRS, *OURS, PUBLISHED)
    parser.add_argument(
        '--competitors',
        nargs='+',
        default=list(everyone),
        choices=everyone,
        metavar='NAME',
        help=f'who competes, out of {", ".join(map(repr, everyone))} (default: all)',
    )
    parser.add_argument(
        '--backends',
        nargs='+',
        default=['auto'],
        metavar='NAME',
        help='run ours once on each backend; auto: the best that is available (default: auto)',
    )


def run_benchmark(
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
    """Measures every case, prints its table, then the geometric means; writes the rows.

    Args:
        args: From :func:`parse`.
        cases: What is measured, as it stands in the rows.
        build: Makes a case's competitors; they are freed before the next case.
        groups: Keys of a case whose values are never averaged over.
        baselines: Denominators of the ratios.
        unseen: Further denominators, which the rows have and the tables leave out.
        unit: Of the printed times.
        finish: Adds to a case's rows what only the tool knows.
        **options: ``measure``'s.
    """
    check_writes([args.out] if args.out else [])
    tool = Path(sys.argv[0]).stem
    settings = {k: v for k, v in vars(args).items() if k != 'out'}
    settings |= dict(baselines=list(baselines), groups=list(groups), unit=unit)
    run = Run(tool, environment(args.device, args.seed), settings, [])
    print(', '.join(f'{k} {v}' for k, v in run.environment.items() if v is not None))
    options = dict(rounds=args.rounds, seconds=args.seconds, seed=args.seed) | options
    cases = list(cases)
    bar = Progress(
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=True,
        redirect_stdout=False,  # the tables go where the user sends them
        refresh_per_second=1,  # as it takes time from what is measured
    )
    task = bar.add_task(tool, total=len(cases))
    for case in cases:
        with bar:  # gone while the table is printed
            torch.manual_seed(args.seed)
            rows = measure(case, build(case), baselines + unseen, args.device, **options)
            bar.advance(task)
        finish(rows)
        run.rows.extend(rows)
        print(f'\n{describe(case)}\n\n{case_table(rows, baselines, unit)}', flush=True)
    for name, rows in grouped(run.rows, groups).items():
        if len(rows) > len({row['competitor'] for row in rows}):  # more cases than one
            print(f'\ngeometric means, {name}\n\n{mean_table(rows, baselines)}')
    out = args.out or ROOT / 'docs' / 'benchmarks' / file_name(run)
    if args.out or not args.smoke:
        write_run(out, run)
        default = out.parent == ROOT / 'docs/benchmarks'
        own = [] if default else ['--data', out.parent, '--out', out.parent]
        print(f'\nWritten: {short(out)}. Next:\n    {command("benchmarks/render.py", *own)}')
