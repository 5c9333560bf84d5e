"""Time normalization layers side by side: python tools/benchmarks/bench_switch_norm.py"""

import argparse
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from _cases import parse, time_cases
from _competitors import BASELINES, build_layer, named_competitors
from torch import Tensor, nn

from ssn_mm import keep_selected
from ssn_mm.cli.tool import run_tool
from ssn_mm.timing.neighbour import busy_neighbour
from ssn_mm.timing.rounds import TOTAL, Competitor

# a map of every stage of ResNet-50 at 224 x 224: C, H, W
RESNET50 = ((64, 56, 56), (256, 56, 56), (512, 28, 28), (1024, 14, 14), (2048, 7, 7))
SMOKE = dict(shapes=['2,32,8,8', '2,64,4,4'], dtype=['float32'])
# What a layer must move, in passes over a map that does not fit into the cache: forward reads x
# twice, for the statistics and for y, and writes y; backward reads dy and x for the sums, and
# both again for dx, which it writes.
PASSES = {'forward': 3, 'backward': 5, TOTAL: 8}
COPY_PASSES = 2  # reads and writes


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Time the forward and backward pass of normalization layers in training and '
        "their peak memory, relative to nn.BatchNorm, nn.GroupNorm(32), the authors' formula and "
        'frozen nn.BatchNorm.'
    )
    parser.add_argument(
        '--shapes',
        nargs='+',
        default=['resnet50'],
        metavar='SHAPE',
        help="'resnet50': a map of every stage, with each of --images; or N,C,H,W or N,C,T,H,W "
        '(default: resnet50)',
    )
    parser.add_argument(
        '--images', type=int, nargs='+', default=[2, 8, 32], help='N (default: 2 8 32)'
    )
    parser.add_argument(
        '--dtype',
        nargs='+',
        default=['float32'],
        choices=('float32', 'bfloat16', 'float16'),
        help='of the maps; parameters stay float32 (default: float32)',
    )
    parser.add_argument(
        '--channels-last', action='store_true', help='measure every case in channels_last, too'
    )
    parser.add_argument(
        '--busy',
        action='store_true',
        help="measure beside a process that keeps one core busy, as a loader's worker does; the "
        'rows go into a file of their own',
    )
    args = parse(parser, rounds=5, seconds=20.0, smoke=SMOKE, every=True)
    try:
        args.shapes = [shape for text in args.shapes for shape in read_shape(text, args.images)]
    except ValueError as error:
        parser.error(str(error))
    return args


def read_shape(text: str, images: list[int]) -> list[list[int]]:
    """'resnet50' or 'N,C,H,W' as shapes."""
    if text == 'resnet50':
        return [[n, *stage] for n in images for stage in RESNET50]
    if all(part.isdecimal() for part in text.split(',')):
        shape = [int(part) for part in text.split(',')]
        if len(shape) in (4, 5) and all(shape):
            return [shape]
    raise ValueError(
        f"--shapes takes 'resnet50' or 4 or 5 positive numbers like 8,64,56,56, got {text!r}"
    )


def layer_step(name: str, backend: str | None, x: Tensor, dy: Tensor) -> Competitor | str:
    """Forward and backward pass of one layer in training; or why it does not take the map."""
    try:
        layer = build_layer(name, x.size(1), x.dim() - 2).to(x.device)
        if isinstance(layer, nn.GroupNorm):
            layer.to(x.dtype)  # its CUDA kernel wants its parameters like the map
        if backend is None:
            layer(x)  # raises where the map does not suit it
    except ValueError as error:
        return str(error)
    held: dict[str, Tensor] = {}

    def prepare() -> None:
        x.grad = None
        for param in layer.parameters():
            param.grad = None
        keep_selected(layer)  # as after every step of a training; tells an SSN what it has selected

    def forward() -> None:
        held['y'] = layer(x)

    def backward() -> None:
        held.pop('y').backward(dy)

    return Competitor(dict(forward=forward, backward=backward), prepare, backend)


def build(case: Mapping[str, Any], args: argparse.Namespace) -> dict[str, Competitor | str]:
    """All competitors on one map and one gradient, and a plain copy of that map."""
    shape, dtype = case['shape'], getattr(torch, case['dtype'])
    generator = torch.Generator().manual_seed(args.seed)
    x, dy = (torch.randn(shape, generator=generator).to(args.device, dtype) for _ in range(2))
    if case['layout'] == 'channels_last':
        last = torch.channels_last if len(shape) == 4 else torch.channels_last_3d
        x, dy = (t.contiguous(memory_format=last) for t in (x, dy))
    source, target = x, torch.empty_like(x)
    x = x.detach().requires_grad_()
    competitors = named_competitors(args, lambda name, own: layer_step(name, own, x, dy))
    copy = Competitor(dict(forward=lambda: target.copy_(source)))
    return competitors | dict(copy=copy)


def add_roofline(rows: list[dict[str, Any]]) -> None:
    """Adds the bytes a layer must move, and the fraction of the copy's bandwidth it reaches."""
    for row in rows:
        size = torch.Size(row['case']['shape']).numel()
        size *= getattr(torch, row['case']['dtype']).itemsize
        passes = PASSES if row['competitor'] != 'copy' else {}
        row['bytes'] = {phase: count * size for phase, count in passes.items()}
        row['roofline'] = {}
        if row['seconds']:
            copies = row['ratio']['copy']  # how many copies' time it took, round by round
            for phase, count in passes.items():
                row['roofline'][phase] = count / COPY_PASSES / copies[phase]['median']


def main() -> None:
    args = parse_args()
    layouts = ['contiguous', *(['channels_last'] if args.channels_last else [])]
    cases = [
        dict(shape=shape, dtype=dtype, layout=layout)
        for dtype in args.dtype
        for layout in layouts
        for shape in args.shapes
    ]
    with busy_neighbour() if args.busy else nullcontext():
        time_cases(
            args,
            cases,
            lambda case: build(case, args),
            groups=('dtype', 'layout'),
            baselines=(*BASELINES, 'FrozenBN'),
            unseen=('copy',),
            finish=add_roofline,
        )


if __name__ == '__main__':
    run_tool(main)
