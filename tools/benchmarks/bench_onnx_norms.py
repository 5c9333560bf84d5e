"""Time the forms in which ONNX can say a norm: python tools/benchmarks/bench_onnx_norms.py"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from _cases import check_positive, parse, time_cases
from onnx import TensorProto, helper, numpy_helper

from ssn_mm.cli.tool import run_tool
from ssn_mm.deploy.openvino_program import openvino_core
from ssn_mm.timing.rounds import Competitor

LAYERS = 4  # convolutions of a network, a norm and a ReLU behind each
SHAPES = ['8,64,40,40', '8,256,40,40', '8,512,20,20', '8,1024,10,10', '1,256,56,56', '1,1024,14,14']
RUNTIMES = ('onnxruntime', 'openvino')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Time networks of convolutions (1x1) with a norm and a ReLU behind each, the '
        'norm written in every form that ONNX has for it, against the network without norms, which '
        'is what folded batch norm leaves. ssn_mm/deploy/onnx_norms.py takes the fastest form.'
    )
    parser.add_argument(
        '--shapes',
        nargs='+',
        default=SHAPES,
        metavar='SHAPE',
        help='maps, N,C,H,W or N,C,T,H,W (default: %(default)s)',
    )
    parser.add_argument('--runtimes', nargs='+', default=list(RUNTIMES), choices=RUNTIMES)
    smoke = dict(shapes=['2,16,8,8', '1,16,4,6,6'])
    args = parse(parser, rounds=5, seconds=3.0, smoke=smoke, layers=False)
    check_positive(parser, args, 'threads')
    given = ' '.join(args.shapes)
    try:
        args.shapes = [[int(size) for size in text.split(',')] for text in args.shapes]
    except ValueError:
        args.shapes = [[]]
    if not all(len(shape) in (4, 5) and min(shape) > 0 for shape in args.shapes):
        parser.error(f'--shapes takes N,C,H,W and N,C,T,H,W, got {given}')
    return args


class Graph:
    """Nodes and constants of a network that is being written.

    Args:
        channels: Of every map.
        rank: Number of spatial dimensions.
    """

    def __init__(self, channels: int, rank: int) -> None:
        self.channels, self.rank = channels, rank
        self.area = np.arange(2, 2 + rank)
        self.all = np.arange(1, 2 + rank)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}

    def __call__(self, kind: str, *inputs: Any, **attributes: Any) -> str:
        """Adds a node; numbers and arrays among its inputs become constants. Returns its output."""
        names = [one if isinstance(one, str) else self.constant(one) for one in inputs]
        output = f'v{len(self.nodes)}'
        self.nodes.append(helper.make_node(kind, names, [output], **attributes))
        return output

    def constant(self, value: Any) -> str:
        array = np.asarray(value)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        name = f'c{len(self.constants)}'
        self.constants[name] = array
        return name

    def per_channel(self, value: float) -> np.ndarray:
        return np.full((1, self.channels, *[1] * self.rank), value, np.float32)

    def affine(self, x: str) -> str:
        return self('Add', self('Mul', x, self.per_channel(1.1)), self.per_channel(0.1))

    def root(self, var: str) -> str:
        return self('Sqrt', self('Add', var, 1e-5))

    def program(self, output: str) -> bytes:
        maps = ['n', self.channels, *'thw'[-self.rank :]]
        self.nodes[-1].output[0] = 'y'
        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, maps) for name in 'xy']
        constants = [numpy_helper.from_array(v, k) for k, v in self.constants.items()]
        graph = helper.make_graph(self.nodes, 'norms', ends[:1], ends[1:], constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 20)], ir_version=10)
        return model.SerializeToString()


Form = Callable[[Graph, str], str]


def instance_norm(g: Graph, x: str) -> str:
    own = np.full(g.channels, 1.1, np.float32), np.full(g.channels, 0.1, np.float32)
    return g('InstanceNormalization', x, *own)


def instance_norm_depthwise(g: Graph, x: str) -> str:
    """The affine part as a convolution, which onnxruntime fuses with the ReLU."""
    own = np.ones(g.channels, np.float32), np.zeros(g.channels, np.float32)
    x = g('InstanceNormalization', x, *own)
    weight = np.full((g.channels, 1, *[1] * g.rank), 1.1, np.float32)
    return g('Conv', x, weight, np.full(g.channels, 0.1, np.float32), group=g.channels)


def chain(over: str, square: str) -> Form:
    """The definition, operator by operator, over a graph's ``area`` or ``all``."""

    def form(g: Graph, x: str) -> str:
        axes = getattr(g, over)
        centred = g('Sub', x, g('ReduceMean', x, axes))
        if square == 'Pow':
            var = g('ReduceMean', g('Pow', centred, 2.0), axes)
        elif square == 'Mul':
            var = g('ReduceMean', g('Mul', centred, centred), axes)
        else:
            norm = g(square, centred, axes)
            var = g('Mul', g('Mul', norm, norm) if square == 'ReduceL2' else norm, 1e-3)
        return g.affine(g('Div', centred, g.root(var)))

    return form


def variance_normalization(over: str) -> Form:
    return lambda g, x: g.affine(g('MeanVarianceNormalization', x, axes=getattr(g, over).tolist()))


def in_rows(kind: str, groups: int | None) -> Form:
    """A runtime's norm of rows, of which a sample has as many as there are groups."""

    def form(g: Graph, x: str) -> str:
        rows = g('Reshape', x, np.array([0, groups or g.channels, -1]))
        if kind == 'LayerNormalization':
            y = g(kind, rows, np.ones(1, np.float32), np.zeros(1, np.float32), axis=-1)
        else:
            count = groups or g.channels
            y = g(kind, rows, np.ones(count, np.float32), np.zeros(count, np.float32))
        return g.affine(g('Reshape', y, g('Shape', x)))

    return form


def by_factors(square: str) -> Form:
    """IN's mean and LN's variance, by Chan's formula from instance moments."""

    def form(g: Graph, x: str) -> str:
        mean = g('ReduceMean', x, g.area)
        centred = g('Sub', x, mean)
        if square == 'Mul':
            own = g('ReduceMean', g('Mul', centred, centred), g.area)
        else:
            norm = g(square, centred, g.area)
            own = g('Mul', g('Mul', norm, norm) if square == 'ReduceL2' else norm, 1e-3)
        channels = np.array([1])
        off = g('Sub', mean, g('ReduceMean', mean, channels))
        var = g('ReduceMean', g('Add', own, g('Mul', off, off)), channels)
        scale = g('Div', g.per_channel(1.1), g.root(var))
        return g('Add', g('Mul', centred, scale), g.per_channel(0.1))

    return form


def shifted(g: Graph, x: str) -> str:
    """IN's mean, BN's variance in the weights of the convolution."""
    return g('Add', x, g('Sub', g.per_channel(0.1), g('ReduceMean', x, g.area)))


def scaled(g: Graph, x: str) -> str:
    """IN's mean, BN's variance as factors."""
    scale = g.per_channel(1.1)
    shift = g('Sub', g.per_channel(0.1), g('Mul', g('ReduceMean', x, g.area), scale))
    return g('Add', g('Mul', x, scale), shift)


SQUARES = ('Pow', 'Mul', 'ReduceL2', 'ReduceSumSquare')
FORMS: dict[str, dict[str, Form]] = {
    'IN': {
        'InstanceNormalization': instance_norm,
        'InstanceNormalization, depthwise': instance_norm_depthwise,
        'MeanVarianceNormalization': variance_normalization('area'),
        'LayerNormalization of rows': in_rows('LayerNormalization', None),
        **{f'ReduceMean, {square}': chain('area', square) for square in SQUARES},
    },
    'LN': {
        'InstanceNormalization of rows': in_rows('InstanceNormalization', 1),
        'LayerNormalization of rows': in_rows('LayerNormalization', 1),
        'MeanVarianceNormalization': variance_normalization('all'),
        **{f'ReduceMean, {square}': chain('all', square) for square in SQUARES},
    },
    'GN': {
        f'{kind} of rows': in_rows(kind, 8)
        for kind in ('InstanceNormalization', 'LayerNormalization')
    },
    'mean IN, variance LN': {square: by_factors(square) for square in SQUARES[1:]},
    'mean IN, variance BN': {'in the convolution': shifted, 'as factors': scaled},
}


def network(norm: Form | None, channels: int, rank: int, seed: int) -> bytes:
    """Convolutions with a norm, or none, and a ReLU behind each."""
    generator, g, x = np.random.default_rng(seed), Graph(channels, rank), 'x'
    for _ in range(LAYERS):
        weight = generator.standard_normal((channels, channels, *[1] * rank)) / channels**0.5
        x = g('Conv', x, weight, np.zeros(channels, np.float32))
        x = g('Relu', norm(g, x) if norm else x)
    return g.program(x)


def run_by(runtime: str, program: bytes, x: np.ndarray) -> Callable[[], Any]:
    """A call of a program on an input, with as many threads as PyTorch has."""
    threads = torch.get_num_threads()
    if runtime == 'openvino':
        core = openvino_core()
        options = {'INFERENCE_PRECISION_HINT': 'f32', 'INFERENCE_NUM_THREADS': str(threads)}
        return partial(core.compile_model(core.read_model(program), 'CPU', options), [x])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    session = onnxruntime.InferenceSession(program, options, providers=['CPUExecutionProvider'])
    return partial(session.run, None, {'x': x})


def build(case: Mapping[str, Any], args: argparse.Namespace) -> dict[str, Competitor]:
    """The network without norms, and with the case's norm in each form."""
    shape = case['shape']
    x = np.random.default_rng(args.seed).standard_normal(shape).astype(np.float32)
    forms: dict[str, Any] = {'no norm': None, **FORMS[case['norm']]}
    programs = {
        name: network(form, shape[1], len(shape) - 2, args.seed) for name, form in forms.items()
    }
    return {
        name: Competitor({'forward': run_by(case['runtime'], program, x)})
        for name, program in programs.items()
    }


def cases(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    for runtime in args.runtimes:
        for norm in FORMS:
            for shape in args.shapes:
                yield dict(runtime=runtime, norm=norm, shape=shape)


def main() -> None:
    args = parse_args()
    time_cases(
        args,
        list(cases(args)),
        lambda case: build(case, args),
        groups=('runtime', 'norm'),
        baselines=('no norm',),
        memory=False,
    )


if __name__ == '__main__':
    run_tool(main)
