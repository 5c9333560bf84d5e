"""Time SparsestMax beside softmax: python tools/benchmarks/bench_sparsestmax.py"""

import argparse
from collections.abc import Callable, Mapping
from typing import Any

import torch
from _cases import parse, time_cases
from torch import Tensor

from ssn_mm.cli.tool import run_tool
from ssn_mm.ops import sparsemax, sparsestmax
from ssn_mm.timing.rounds import Competitor

SMOKE = dict(radii=[0.0, 0.6], layers=5, calls=2)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Time the forward and backward pass of a network's ratios, all layers in one "
        'call and layer by layer, in microseconds and relative to softmax.'
    )
    parser.add_argument(
        '--radii', type=float, nargs='+', default=[0.0, 0.3, 0.6, 0.9], help='default: 0 .3 .6 .9'
    )
    parser.add_argument(
        '--layers', type=int, default=53, help='of the network (default: 53, ResNet-50)'
    )
    parser.add_argument('--normalizers', type=int, default=3, help='K (default: 3)')
    parser.add_argument(
        '--calls', type=int, default=20, help='averaged over, per round (default: 20)'
    )
    args = parse(parser, rounds=20, seconds=4.0, smoke=SMOKE, layers=False)
    if args.layers < 1 or args.normalizers < 2 or min(args.radii) < 0 or args.calls < 1:
        parser.error(
            '--layers and --calls must be at least 1, --normalizers 2, and --radii not negative; '
            f'got {args.layers}, {args.calls}, {args.normalizers} and {args.radii}'
        )
    return args


def build(case: Mapping[str, Any], args: argparse.Namespace) -> dict[str, Competitor | str]:
    """Softmax, sparsemax and SparsestMax of logits as they are early in a training."""
    calls, *shape = case['logits']
    generator = torch.Generator().manual_seed(args.seed)
    logits = 1 + 0.1 * torch.randn((calls, *shape), generator=generator)
    gradient = torch.randn(shape, generator=generator).to(args.device)
    rows = [z.to(args.device).requires_grad_() for z in logits]
    radius = torch.tensor(case['radius'], device=args.device)  # a buffer, as in a layer

    def step(function: Callable[[Tensor], Tensor]) -> Competitor:
        held: list[Tensor] = []

        def prepare() -> None:
            for z in rows:
                z.grad = None

        def forward() -> None:
            held.extend(function(z) for z in rows)

        def backward() -> None:
            while held:
                held.pop().backward(gradient)

        return Competitor(dict(forward=forward, backward=backward), prepare)

    return {
        'softmax': step(lambda z: z.softmax(-1)),
        'sparsemax': step(sparsemax),
        'SparsestMax': step(lambda z: sparsestmax(z, radius)),
    }


def main() -> None:
    args = parse_args()
    shapes = [1, 2 * args.layers, args.normalizers], [args.layers, 2, args.normalizers]
    cases = [dict(logits=shape, radius=radius) for shape in shapes for radius in args.radii]
    time_cases(
        args,
        cases,
        lambda case: build(case, args),
        groups=('logits', 'radius'),
        baselines=('softmax',),
        unit='µs',
        calls=args.calls,
        memory=False,
    )


if __name__ == '__main__':
    run_tool(main)
