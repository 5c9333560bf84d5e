"""Launches of the Triton kernels: which programs share a map, and the (N, C) numbers between.

Where rows are too few to fill a GPU, pixels are split over programs and their parts merged. One
program of the small stage takes up to _WHOLE cells. Above that samples are split: what BN needs of
all samples is reduced in a launch before, what the ratios need in one after.
"""

from collections.abc import Sequence
from math import gcd, sqrt
from typing import Any

import torch
from torch import Tensor

from ..mix import Mixed
from .kernels import (
    affine_kernel,
    choice_grad_kernel,
    choice_kernel,
    columns_kernel,
    merge_kernel,
    mix_grad_kernel,
    mix_kernel,
    reduce_kernel,
)

_CELLS = 4096  # of a tile of the map, 16 for each of 256 threads
_PROGRAMS = 512  # some for each multiprocessor, which hides the latency of its loads
_FEW = 2048  # N·C up to which pixels may be split; the launch to merge them is one that the small
_WHOLE = 8192  # stage saves: padded to powers of 2, the cells are at most this many then

_KINDS = {'IN': 0, 'LN': 1, 'BN': 2, 'GN': 3}  # two bits of `kinds` each


def is_faster_in_torch(name: str, x: Tensor) -> bool:
    """Whether torch's own layer is used where ``name`` alone is computed: cuDNN's fused BN."""
    return name == 'BN'


def forward(
    x: Tensor, logits: Tensor, weight: Tensor | None, bias: Tensor | None, radius: Tensor | None,
    running_mean: Tensor | None, running_var: Tensor | None, source: str, normalizers: str,
    eps: float, num_groups: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """The operator's forward pass: y, ratios, state and batch as ``fused`` has them."""
    names = normalizers.split(',')
    if source == 'chosen':
        logits = torch.eye(len(names), out=logits.new_empty(0)).expand(2, -1).contiguous()
    if radius is not None:
        radius = radius.to(logits)
    n, c = x.shape[:2]
    state = logits.new_empty(5 * n * c + 5)
    curve = state[-5:]
    mean, var, *others = state[:-5].view(5, n, c).unbind()
    _reduce(None, x, None, (mean, var))
    out = (curve[:2], curve[2:4], *others)
    options = (weight, running_mean, running_var, names, eps, num_groups)
    mixed = mix(mean, var, logits, radius, *options, out=out)
    y = affine(x, mixed.shift, mixed.scale, bias)
    return y, mixed.ratios, state, mixed.batch


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance, (N, C), of a map (N, C, *spatial), contiguous or channels last."""
    return _reduce(None, x, None)


def affine(x: Tensor, shift: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    """scale * (x - shift) + bias with (N, C) shift and scale, (C,) bias; a new map like ``x``."""
    return _affine(None, x, shift, None, scale, bias, x.size(1))


def sums(dy: Tensor, x: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Σdy and Σdy·(x - shift) over each instance, (N, C); ``dy`` is laid out as ``x``."""
    return _reduce(dy, x, shift)


def affine_grad(
    dy: Tensor, x: Tensor, shift: Tensor, scale: Tensor, slope: Tensor, offset: Tensor
) -> Tensor:
    """scale * dy + slope * (x - shift) + offset, factors (N, C); a new map like ``x``."""
    return _affine(dy, x, shift, scale, slope, offset, shift.numel())


def sparsestmax(z: Tensor, radius: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """As ``ops.sparsestmax.solve``, for (rows, K) logits, K up to 32, and a 0-d or (rows,) radius.

    Stretch and bend are (rows,).
    """
    rows, k = z.shape
    chosen = torch.empty_like(z), z.new_empty(rows), z.new_empty(rows)
    stride = radius.stride(0) if radius.dim() else 0
    blocks = _choice_blocks(k)
    programs = _cdiv(rows, blocks['block_r'])
    _run(choice_kernel, programs, z, radius, *chosen, rows, stride, full=_full(k), **blocks)
    return chosen


def sparsestmax_backward(g: Tensor, z: Tensor, p: Tensor, stretch: Tensor, bend: Tensor) -> Tensor:
    """As ``ops.sparsestmax.jacobian_product``, for (rows, K) and (rows,) tensors."""
    rows, k = z.shape
    dz = torch.empty_like(z)
    constants = dict(constrained=True, block_p=1, **_choice_blocks(k))
    programs = _cdiv(rows, constants['block_r'])
    _run(choice_grad_kernel, programs, g, z, p, stretch, bend, dz, rows, 1, **constants)
    return dz


def mix(
    mean: Tensor, var: Tensor, logits: Tensor, radius: Tensor | None, weight: Tensor | None,
    running_mean: Tensor | None, running_var: Tensor | None,
    normalizers: Sequence[str], eps: float, num_groups: int,
    out: tuple[Tensor, ...] = (),
) -> Mixed:  # fmt: skip
    """As ``backends.mix.mix``; ``out`` takes Mixed's tensors between ratios and batch."""
    n, c = mean.shape
    programs, sizes, constants = _share(n, c, normalizers, num_groups)
    k = len(normalizers)
    measure = 'BN' in normalizers and running_mean is None
    stretch, bend, shift, rstd, scale = out or (
        mean.new_empty(shape) for shape in (2, 2, (n, c), (n, c), (n, c))
    )
    ratios, batch = mean.new_empty(2, k), mean.new_empty(2, c if measure else 0)
    mixed = Mixed(ratios, stretch, bend, shift, rstd, scale, batch)
    bn = mixed.batch.unbind() if measure else (running_mean, running_var)
    if measure and programs > 1:
        merge = dict(moments=True, **_columns(n))
        _run(merge_kernel, _cdiv(c, merge['block_c']), mean, var, *bn, c, n, 1, n, **merge)
    inputs = (mean, var, logits, radius, weight, *bn)
    constants |= dict(eps=eps, full=_full(k), measure=measure and programs == 1)
    _run(mix_kernel, programs, *inputs, *mixed[:-1], *sizes, **constants)
    return mixed


def mix_backward(
    mixed: Mixed, mean: Tensor, var: Tensor, total: Tensor, dot: Tensor, logits: Tensor,
    weight: Tensor | None, running_mean: Tensor | None, running_var: Tensor | None,
    area: int, constrained: bool, normalizers: Sequence[str], num_groups: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """As ``backends.mix.mix_backward``."""
    n, c = mean.shape
    k = len(normalizers)
    programs, sizes, constants = _share(n, c, normalizers, num_groups)
    slope, offset, dlogits = (torch.empty_like(t) for t in (mean, mean, logits))
    dweight, dbias, bn = mean.new_empty(c), mean.new_empty(c), mean.new_empty(2, c)
    parts = dlogits if programs == 1 else mean.new_empty(programs, 2, k)
    measured = running_mean is None and 'BN' in normalizers
    bn_moments = mixed.batch.unbind() if measured else (running_mean, running_var)
    sums_over = (total, dot, mixed.rstd, mixed.scale)
    chosen = (logits, mixed.ratios, mixed.stretch, mixed.bend)
    if programs > 1:
        columns = _columns(n)
        inputs = (*sums_over, dbias, dweight, bn, n, c)
        _run(columns_kernel, _cdiv(c, columns['block_c']), *inputs, **columns)
    constants |= dict(constrained=constrained, whole=programs == 1)
    inputs = (mean, var, *sums_over, mixed.shift, *bn_moments, bn if measured else None, *chosen)
    outputs = (slope, offset, parts, dbias, dweight)
    _run(mix_grad_kernel, programs, *inputs, *outputs, *sizes, area, **constants)
    if programs > 1:
        blocks = dict(_choice_blocks(k), block_p=_pad(programs), block_r=2)
        of_parts = (parts, *chosen, dlogits, 2, programs)
        _run(choice_grad_kernel, 1, *of_parts, constrained=constrained, **blocks)
    return slope, offset, dlogits, dweight, dbias


def _reduce(
    dy: Tensor | None,
    x: Tensor,
    shift: Tensor | None,
    out: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    n, c = x.shape[:2]
    wide = torch.promote_types(x.dtype, torch.float32)
    a, b = out or (x.new_empty(n, c, dtype=wide), x.new_empty(n, c, dtype=wide))
    programs, sizes, constants = _plan(x, reduces=True)
    _, area, splits, steps = sizes
    if splits == 1:
        _run(reduce_kernel, programs, dy, x, shift, a, b, n * c, *sizes, **constants)
        return a, b
    parts = x.new_empty(2, splits, n, c, dtype=wide).unbind()
    _run(reduce_kernel, programs, dy, x, shift, *parts, n * c, *sizes, **constants)
    merge = dict(moments=dy is None, **_columns(splits))
    chunk = steps * constants['block_s']
    programs = _cdiv(n * c, merge['block_c'])
    _run(merge_kernel, programs, *parts, a, b, n * c, splits, chunk, area, **merge)
    return a, b


def _affine(
    dy: Tensor | None, x: Tensor, shift: Tensor, scale: Tensor | None, slope: Tensor,
    offset: Tensor | None, period: int,
) -> Tensor:  # fmt: skip
    out = torch.empty_like(x)
    programs, sizes, constants = _plan(x, reduces=False)
    inputs = (dy, x, shift, scale, slope, offset)
    _run(affine_kernel, programs, *inputs, out, period, *sizes, **constants)
    return out


def _plan(x: Tensor, reduces: bool) -> tuple[int, tuple[int, ...], dict[str, Any]]:
    """How many programs share a map; its rows and area, their splits and steps; constants."""
    n, c = x.shape[:2]
    area = x.numel() // (n * c)
    last = not x.is_contiguous()
    if last and not x.movedim(1, -1).is_contiguous():
        raise ValueError(f'a map must be contiguous or channels last, got strides {x.stride()}')
    outer, rows, fast = (n, c, c) if last else (1, n * c, area)
    most, least = max(1, _CELLS // 2 // _pad(area)), 1
    if last:  # 16 channels of a half type are 32 bytes, the least a GPU reads
        most, least = 64, 16 if reduces else 64
    block_r = min(_pad(rows), most)
    while block_r > least and outer * _cdiv(rows, block_r) < _PROGRAMS:
        block_r //= 2
    block_s = min(_pad(area), _CELLS // (block_r if last else 1))
    blocks, tiles = outer * _cdiv(rows, block_r), _cdiv(area, block_s)
    steps = tiles
    if not reduces:  # in channels last, further steps of large maps need not load the factors
        steps = 4 if last and blocks * tiles >= 8 * _PROGRAMS else 1
    elif n * c <= _FEW and 2 * blocks <= _PROGRAMS:
        steps = max(min(2, tiles), _cdiv(tiles, _cdiv(_PROGRAMS, blocks)))
    splits = _cdiv(tiles, steps)
    constants = dict(align=gcd(fast, 16), last=last, block_r=block_r, block_s=block_s)
    warps = _warps(block_r * block_s, 16, 8)
    return blocks * splits, (rows, area, splits, steps), dict(constants, num_warps=warps)


def _share(
    n: int, c: int, normalizers: Sequence[str], num_groups: int
) -> tuple[int, tuple[int, ...], dict[str, Any]]:
    """How many programs share (N, C); samples, groups, their size; constants."""
    groups = num_groups if 'GN' in normalizers else 1
    size = c // groups
    row = _pad(groups) * _pad(size)
    block_n = _pad(n) if _pad(n) * row <= _WHOLE else max(1, 1024 // row)
    constants = dict(
        kinds=sum(_KINDS[name] << 2 * i for i, name in enumerate(normalizers)),
        k=len(normalizers),
        block_k=max(2, _pad(len(normalizers))),
        block_n=block_n,
        block_g=_pad(groups),
        block_j=_pad(size),
        num_warps=_warps(block_n * row, 8, 16),
    )
    return _cdiv(n, block_n), (n, groups, size), constants


def _columns(rows: int) -> dict[str, int]:
    """Blocks that hold all rows of some columns."""
    block_n = _pad(rows)
    block_c = max(1, min(16, 4096 // block_n))
    return dict(block_n=block_n, block_c=block_c, num_warps=_warps(block_n * block_c, 8, 16))


def _choice_blocks(k: int) -> dict[str, int]:
    block_k = max(2, _pad(k))
    return dict(k=k, block_k=block_k, block_r=max(1, 1024 // block_k**2), num_warps=4)


def _full(k: int) -> float:
    return sqrt((k - 1) / k) - 1e-6  # the slack is for radii stored in float32


def _cdiv(a: int, b: int) -> int:  # triton's takes microseconds, as does its next_power_of_2
    return -(-a // b)


def _pad(count: int) -> int:
    return 1 << (count - 1).bit_length()


def _warps(cells: int, per_thread: int, most: int) -> int:
    return min(most, max(1, cells // (32 * per_thread)))


def _run(kernel: Any, programs: int, *arguments: Any, **constants: Any) -> None:
    near = next(a for a in arguments if isinstance(a, Tensor))
    with torch.cuda.device_of(near):  # which need not be the current one
        kernel[(programs,)](*arguments, enable_fp_fusion=True, **constants)
