"""Time the passes of our kernels against a copy: python tools/benchmarks/bench_stages.py"""

import argparse
from collections.abc import Callable, Mapping
from typing import Any

import torch
from _cases import parse, time_cases

from ssn_mm.cli.tool import run_tool
from ssn_mm.ops.backends import fused
from ssn_mm.ops.backends.saved import unpack
from ssn_mm.ops.dispatch import load_kernels
from ssn_mm.timing.rounds import Competitor

SMOKE = dict(shapes=['2,32,8,8'], kernels=['cpu'])
# Passes over a map: what each stage reads and writes. (N, C) numbers are left out, less than 1 %
# of a map from 500 pixels on.
PASSES = {
    'copy': 2,
    'moments': 1,
    'affine': 2,
    'forward': 3,
    'sums': 2,
    'affine_grad': 3,
    'backward': 5,
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Time each pass of the fused operator over a map, and the whole operator, '
        'relative to a plain copy of the map and to the bytes that it must move.'
    )
    parser.add_argument(
        '--shapes',
        nargs='+',
        default=['8,64,56,56', '32,64,56,56', '32,256,56,56', '32,2048,7,7'],
        metavar='N,C,H,W',
        help='default: the stages of ResNet-50 that differ most',
    )
    parser.add_argument(
        '--kernels', nargs='+', default=['cpp', 'cpu'], help='modules of ssn_mm.ops.backends'
    )
    parser.add_argument('--channels-last', action='store_true', help='measure that layout, too')
    return parse(parser, rounds=7, seconds=6.0, smoke=SMOKE, layers=False)


def build(case: Mapping[str, Any], args: argparse.Namespace) -> dict[str, Competitor | str]:
    """A competitor a stage, with factors as they are in training."""
    generator = torch.Generator().manual_seed(args.seed)
    x, dy = (torch.randn(case['shape'], generator=generator).to(args.device) for _ in range(2))
    if case['layout'] == 'channels_last':
        x, dy = (t.contiguous(memory_format=torch.channels_last) for t in (x, dy))
    target, c = torch.empty_like(x), x.size(1)
    weight, bias = torch.ones(c, device=x.device), torch.zeros(c, device=x.device)
    ratios = torch.full((2, 3), 1 / 3, device=x.device)
    kernels, names = case['kernels'], 'IN,LN,BN'
    module = load_kernels(kernels, x)
    given = (x, ratios, weight, bias, None, None, None)
    _, *saved = fused._forward(*given, 'ratios', names, 1e-5, 32, False, kernels)
    mean, var, shift, _, scale, *_ = unpack(saved[1], *x.shape[:2])

    stages: dict[str, Callable[[], Any]] = {
        'copy': lambda: target.copy_(x),
        'moments': lambda: module.moments(x),
        'affine': lambda: module.affine(x, shift, scale, bias),
        'forward': lambda: fused._forward(*given, 'ratios', names, 1e-5, 32, False, kernels),
        'sums': lambda: module.sums(dy, x, shift),
        'affine_grad': lambda: module.affine_grad(dy, x, shift, scale, mean, var),
        'backward': lambda: fused._backward(
            dy, x, ratios, weight, None, None, *saved, 'ratios', names, 32, False, kernels
        ),
    }
    return {name: Competitor(dict(time=stage)) for name, stage in stages.items()}


def add_roofline(rows: list[dict[str, Any]]) -> None:
    """Adds the bytes a stage must move, and the fraction of the copy's bandwidth it reaches."""
    for row in rows:
        passes = PASSES[row['competitor']]
        size = torch.Size(row['case']['shape']).numel() * torch.float32.itemsize
        row['bytes'] = {'time': passes * size}
        copies = row['ratio']['copy']['time']['median']  # how many copies' time it took
        row['roofline'] = {'time': passes / PASSES['copy'] / copies}


def main() -> None:
    args = parse_args()
    cases = [
        dict(shape=[int(n) for n in shape.split(',')], layout=layout, kernels=kernels)
        for kernels in args.kernels
        for layout in ('contiguous', *(['channels_last'] if args.channels_last else []))
        for shape in args.shapes
    ]
    groups = ('layout', 'kernels')
    options = dict(baselines=('copy',), finish=add_roofline, memory=False)
    time_cases(args, cases, lambda case: build(case, args), groups=groups, **options)


if __name__ == '__main__':
    run_tool(main)
