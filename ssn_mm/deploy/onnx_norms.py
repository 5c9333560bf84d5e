"""The forms in which norms are written as ONNX.

Runtimes have fast kernels for some operators and slow ones for others that say the same. Each form
here is the fastest that ``tools/benchmarks/bench_onnx_norms.py`` found in onnxruntime, made of
operators that the importers of OpenVINO and TensorRT take. Variances are those of centred maps.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.instancenorm import _InstanceNorm

from ..layers import MixedNorm

_LIBRARY = torch.library.Library('ssn_mm_onnx', 'DEF')
_LIBRARY.define(
    'norm(Tensor x, Tensor? weight, Tensor? bias, Tensor? running_mean, Tensor? running_var, '
    'str mean, str var, float eps, int num_features, int num_groups, int correction, bool scales) '
    '-> Tensor'
)
torch.library.register_fake(
    'ssn_mm_onnx::norm', lambda x, *_: torch.empty_like(x.contiguous()), lib=_LIBRARY
)


@contextmanager
def norms_as_operators(model: nn.Module) -> Iterator[dict[Any, Any]]:
    """Has each norm of a network be one operator, which an exporter writes as ONNX.

    Args:
        model: A frozen network; while the context lasts it can be exported, not run.

    Yields:
        ``custom_translation_table`` of ``torch.onnx.export``.
    """
    norms = [module for module in model.modules() if _is_written(module)]
    try:
        for norm in norms:
            vars(norm)['forward'] = partial(_as_operator, norm, _scales(norm))
        yield {torch.ops.ssn_mm_onnx.norm.default: _write}
    finally:
        for norm in norms:
            vars(norm).pop('forward', None)


def _is_written(module: nn.Module) -> bool:
    if isinstance(module, _InstanceNorm):
        return type(module).forward is _InstanceNorm.forward and module.running_mean is None
    return type(module) in (MixedNorm, nn.GroupNorm)


def _scales(norm: nn.Module) -> bool:
    """Whether a norm multiplies its map; not where ``fold`` has moved BN's factors."""
    if not isinstance(norm, MixedNorm) or norm.var != ('BN',):
        return True
    factor = norm.weight * torch.rsqrt(norm.running_var + norm._eps)
    return not torch.allclose(factor, torch.ones_like(factor), rtol=1e-6, atol=0)


def _as_operator(norm: Any, scales: bool, x: torch.Tensor) -> torch.Tensor:
    own = (norm.weight, norm.bias)
    statistics: tuple[Any, Any] = (None, None)
    if isinstance(norm, MixedNorm):
        statistics = (norm.running_mean, norm.running_var)
        names = ('+'.join(norm.mean), '+'.join(norm.var))
        others = (norm._eps, norm.num_features, norm.num_groups, norm.correction)
    else:
        grouped = isinstance(norm, nn.GroupNorm)
        channels = norm.num_channels if grouped else norm.num_features
        groups = norm.num_groups if grouped else channels
        name = 'IN' if not grouped else 'LN' if groups == 1 else 'GN'
        names, others = (name, name), (norm.eps, channels, groups, 0)
    return torch.ops.ssn_mm_onnx.norm(x, *own, *statistics, *names, *others, scales)


def _write(
    x, weight, bias, running_mean, running_var,
    mean, var, eps, num_features, num_groups, correction, scales,
):  # fmt: skip
    """Writes a norm's operators; the exporter calls it with what stands for the tensors."""
    means, variances = mean.split('+'), var.split('+')
    sizes = (num_features, num_groups)
    writer = _Writer(x, (running_mean, running_var), eps, sizes, correction)
    if means == variances and len(means) == 1 and means != ['BN'] and not correction:
        return writer.normalized(means[0], weight, bias)
    return writer.mixed(means, variances, weight, bias, scales)


class _Writer:
    """Writes the operators of one norm.

    Args:
        x: The map, (N, C, *spatial), of float32, in which norms of every file compute.
        running: BN's mean and variance, (C,).
        eps: ε, added to the variance.
        sizes: Numbers of channels and of GN's groups.
        correction: 1 for an unbiased variance of IN, else 0.
    """

    def __init__(self, x, running, eps: float, sizes: tuple[int, int], correction: int) -> None:
        from onnxscript import opset18  # of an extra

        self.op: Any = opset18
        self.eps, self.correction = eps, correction
        self.channels, self.num_groups = sizes
        self.spatial = list(range(2, len(x.shape)))
        self.x = x
        self.running = [t if t is None else self.on_map(t) for t in running]

    def on_map(self, t):
        """Numbers (C,) as (C, 1, 1), which fit a map."""
        return self.op.Reshape(t, self.ints([self.channels, *(1 for _ in self.spatial)]))

    def ints(self, values: Sequence[int]):
        return self.op.Constant(value_ints=list(values))

    def number(self, value: float):
        return self.op.Constant(value_float=value)

    def normalized(self, name: str, weight, bias):
        """IN, LN or GN of both mean and variance, as one kernel of a runtime that has it."""
        op = self.op
        if name == 'IN':
            if weight is None:
                weight, bias = self.constant(1.0, self.channels), self.constant(0.0, self.channels)
            return op.InstanceNormalization(self.x, weight, bias, epsilon=self.eps)
        if name == 'LN':  # OpenVINO makes one kernel of these
            axes = self.ints([1, *self.spatial])
            centred = op.Sub(self.x, op.ReduceMean(self.x, axes))
            var = op.ReduceMean(op.Mul(centred, centred), axes)
            y = op.Div(centred, self.root(var))
        else:
            rows = op.Reshape(self.x, self.ints([0, self.num_groups, -1]))
            units = self.constant(1.0, self.num_groups), self.constant(0.0, self.num_groups)
            rows = op.InstanceNormalization(rows, *units, epsilon=self.eps)
            y = op.Reshape(rows, op.Shape(self.x))
        if weight is None:
            return y
        return op.Add(op.Mul(y, self.on_map(weight)), self.on_map(bias))

    def mixed(self, means: Sequence[str], variances: Sequence[str], weight, bias, scales: bool):
        """Eq. 1 with the instance moments measured, and factors (N, C) of the map."""
        op = self.op
        weight, bias = self.on_map(weight), self.on_map(bias)
        own = self.average(self.x)
        zero = op.Sub(own, own)
        if variances == ['BN']:
            mean = self.mix(means, own, zero)[0]
            if not scales:
                return op.Add(self.x, op.Sub(bias, mean))
            scale = op.Div(weight, self.root(self.running[1]))
            return op.Add(op.Mul(self.x, scale), op.Sub(bias, op.Mul(mean, scale)))
        centred = op.Sub(self.x, own)
        square = self.average(op.Mul(centred, centred))
        if self.correction:
            square = op.Mul(square, self.unbiased())
        scale = op.Div(weight, self.root(self.mix(variances, own, square)[1]))
        if means != ['IN']:
            mean = self.mix(means, own, square)[0]
            bias = op.Add(bias, op.Mul(op.Sub(own, mean), scale))
        return op.Add(op.Mul(centred, scale), bias)

    def mix(self, names: Sequence[str], own, square):
        """Moments averaged over normalizers, which fit a map, from instance moments."""
        found = [self.moments(name, own, square) for name in names]
        mean, var = found[0]
        for other_mean, other_var in found[1:]:
            mean, var = self.op.Add(mean, other_mean), self.op.Add(var, other_var)
        if len(found) > 1:
            count = self.number(len(found))
            mean, var = self.op.Div(mean, count), self.op.Div(var, count)
        return mean, var

    def moments(self, name: str, own, square):
        op = self.op
        if name == 'IN':
            return own, square
        if name == 'BN':
            return self.running
        if name == 'LN':
            return self.merged(own, square, self.ints([1]))
        # Chan's formula in each group, (N, G, C / G, 1, 1)
        ones = [1 for _ in self.spatial]
        within = self.ints([0, self.num_groups, -1, *ones])
        found = self.merged(op.Reshape(own, within), op.Reshape(square, within), self.ints([2]))
        each = self.ints([1, 1, self.channels // self.num_groups, *ones])
        like = self.ints([0, self.channels, *ones])
        return tuple(op.Reshape(op.Expand(t, each), like) for t in found)

    def merged(self, means, squares, axis):
        """Mean and variance of the union of parts of equal size, by Chan's formula."""
        op = self.op
        mean = op.ReduceMean(means, axis)
        off = op.Sub(means, mean)
        return mean, op.ReduceMean(op.Add(squares, op.Mul(off, off)), axis)

    def average(self, t):
        return self.op.ReduceMean(t, self.ints(self.spatial)) if self.spatial else t

    def root(self, var):
        return self.op.Sqrt(self.op.Add(var, self.number(self.eps)))

    def unbiased(self):
        """The quotient of elements and degrees of freedom of an instance; 1 for one element."""
        op = self.op
        size = op.Shape(self.x, start=2)
        area = op.CastLike(op.ReduceProd(size, keepdims=0), self.x)
        one = self.number(1.0)
        return op.Div(area, op.Max(op.Sub(area, one), one))

    def constant(self, value: float, count: int):
        return self.op.Constant(value_floats=[value] * count)
