"""Launches of the Triton kernels: which programs share a map, and the (N, C) numbers between.

Where rows are too few to fill a GPU, pixels are split over programs and their parts merged. One
program of the small stage takes up to _WHOLE cells. Above that samples are split: what BN needs of
all samples is reduced in a launch before, what the ratios need in one after. A sample with more
channels than that is left to PyTorch's operators.
"""

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ...moments import gather_processes, sum_processes
from .. import mix as plain
from ..mix import Mixed
from .kernels import (
    FIXED,
    OWN,
    READ,
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
_PROGRAMS = 4  # for each multiprocessor, some, which hides the latency of its loads
_WHOLE = 4096  # cells of float32 in one program of the small stage, half with GN: more spill
_WIDEST = 4096  # such cells of one sample
_SPLIT = 1024  # cells of a program where samples are split
_PARTS = 1024  # that a program merges; of more, each program some, and another launch those

_KINDS = {'IN': 0, 'LN': 1, 'BN': 2, 'GN': 3}  # two bits of `kinds` each


def try_launch(device: torch.device, dtype: torch.dtype) -> None:
    """Launches the kernels that see a map, on one of this type; raises what they raise."""
    x = torch.zeros(1, 2, 4, device=device, dtype=dtype)
    affine(x, *moments(x), None)


def is_faster_in_torch(name: str, x: Tensor) -> bool:
    """Whether torch's own layer is used where ``name`` alone is computed: cuDNN's fused BN."""
    return name == 'BN'


def forward(
    x: Tensor, logits: Tensor, weight: Tensor | None, bias: Tensor | None, radius: Tensor | None,
    running_mean: Tensor | None, running_var: Tensor | None, source: str, normalizers: str,
    eps: float, num_groups: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """The operator's forward pass: y, ratios, state and batch as ``fused`` has them."""
    if radius is not None:
        radius = radius.to(logits)
    n, c = x.shape[:2]
    state = logits.new_empty(5 * n * c + 5)
    curve = state[-5:]
    mean, var, *others = state[:-5].view(5, n, c).unbind()
    _reduce(None, x, None, (mean, var))
    mixed = mix(
        *(mean, var, None if source == 'chosen' else logits, radius, weight),
        *(running_mean, running_var, normalizers.split(','), eps, num_groups),
        out=(curve[:2], curve[2:4], *others, curve[4:]),
    )
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
    mean: Tensor, var: Tensor, logits: Tensor | None, radius: Tensor | None,
    weight: Tensor | None, running_mean: Tensor | None, running_var: Tensor | None,
    normalizers: Sequence[str], eps: float, num_groups: int,
    out: Sequence[Tensor] = (),
) -> Mixed:  # fmt: skip
    """As ``backends.mix.mix``.

    ``out`` takes Mixed's tensors between ratios and batch, and this process' share (1,), 1.
    """
    (n, c), k = mean.shape, len(normalizers)
    if _is_too_wide(mean, normalizers, num_groups):
        options = (radius, weight, running_mean, running_var, normalizers, eps, num_groups)
        mixed = plain.mix(mean, var, logits, *options)
        for kept, t in zip(out, mixed[1:6], strict=False):
            kept.copy_(t)
        if out:
            out[5].fill_(1)
        return mixed
    programs, sizes, constants = _share(mean, normalizers, num_groups)
    measure = 'BN' in normalizers and running_mean is None
    shapes = () if out else (2, 2, (n, c), (n, c), (n, c))
    share = out[5] if out else None
    stretch, bend, shift, rstd, scale = out[:5] or [mean.new_empty(s) for s in shapes]
    ratios, batch = mean.new_empty(2, k), mean.new_empty(2, c if measure else 0)
    bn = batch if measure else (running_mean, running_var)
    if measure and programs > 1:
        _merge((mean, var), batch, n, 1, n)
    inputs = (mean, var, logits, radius, weight, *bn)
    outputs = (ratios, stretch, bend, shift, rstd, scale, share)
    constants |= dict(eps=eps, full=_full(k), measure=measure and programs == 1)
    _run(mix_kernel, programs, *inputs, *outputs, *sizes, **constants)
    return Mixed(ratios, stretch, bend, shift, rstd, scale, batch)


def joint_moments(mean: Tensor, var: Tensor, elements: int) -> tuple[Tensor, Tensor]:
    """As ``backends.mix.joint_moments``."""
    n, c = mean.shape
    own = mean.new_empty(2 * c + 1)
    _merge((mean, var), own[:-1].view(2, c), n, elements // n, elements, own[-1:])
    every = gather_processes(own)
    batch, share = mean.new_empty(2, c), mean.new_empty(1)
    parts, blocks = len(every), _columns(len(every))[0]
    pointers = (every, every[0, c:], every[0, -1:], *batch, share)
    sizes = (c, 2 * c + 1, parts, parts, 0, 0, elements)
    programs = _cdiv(c, blocks['block_c'])
    _run(merge_kernel, programs, *pointers, *sizes, moments=True, **blocks)
    return batch, share


def mix_backward(
    mixed: Mixed, mean: Tensor, var: Tensor, total: Tensor, dot: Tensor, logits: Tensor | None,
    weight: Tensor | None, running_mean: Tensor | None, running_var: Tensor | None,
    area: int, constrained: bool, normalizers: Sequence[str], num_groups: int,
    share: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor, Tensor]:  # fmt: skip
    """As ``backends.mix.mix_backward``."""
    c, k = mean.size(1), len(normalizers)
    if _is_too_wide(mean, normalizers, num_groups):
        return plain.mix_backward(
            *(mixed, mean, var, total, dot, logits, weight, running_mean, running_var),
            *(area, constrained, normalizers, num_groups, share),
        )
    programs, sizes, constants = _share(mean, normalizers, num_groups)
    slope, offset = torch.empty_like(mean), torch.empty_like(mean)
    columns, bn = (mean.new_empty(c), mean.new_empty(c)), None
    dlogits = parts = None if logits is None else torch.empty_like(logits)
    if logits is not None and programs > 1:
        parts = mean.new_empty(programs, 2, k)
    measured = running_mean is None and 'BN' in normalizers
    sums_over = (total, dot, mixed.rstd, mixed.scale)
    chosen = (logits, mixed.ratios, mixed.stretch, mixed.bend)
    apart = programs > 1 or share is not None
    if apart:
        bn = mean.new_empty(2, c) if measured else None
        _sum_columns(sums_over, mixed.ratios, columns, bn, list(normalizers))
    if bn is not None and share is not None:
        sum_processes(bn)
    source = FIXED if not measured else READ if apart else OWN
    constants |= dict(constrained=constrained, whole=programs == 1, bn=source.value)
    bn_moments = mixed.batch if measured else (running_mean, running_var)
    inputs = (mean, var, *sums_over, *bn_moments, bn, share, *chosen)
    outputs = (slope, offset, parts, *((None, None) if apart else columns))
    _run(mix_grad_kernel, programs, *inputs, *outputs, *sizes, area, **constants)
    if parts is not dlogits:
        blocks = dict(_choice_blocks(k), block_p=min(_pad(programs), 256), block_r=2)
        of_parts = (parts, *chosen, dlogits, 2, programs)
        _run(choice_grad_kernel, 1, *of_parts, constrained=constrained, **blocks)
    dbias, dweight = columns
    return slope, offset, dlogits, dweight, dbias


def _sum_columns(
    sums_over: Sequence[Tensor], ratios: Tensor, out: Sequence[Tensor], bn: Tensor | None,
    normalizers: list[str],
) -> None:  # fmt: skip
    """Sums over samples: the gradients of bias and weight, and of BN's moments."""
    n, c = sums_over[0].shape
    blocks, groups, most = _columns(n)
    parts, of_bn = out, bn
    if groups > 1:
        parts = ratios.new_empty(2, groups, c).unbind()
        of_bn = None if bn is None else ratios.new_empty(2, groups, c)
    at = 0 if bn is None else normalizers.index('BN')
    programs = _cdiv(c, blocks['block_c']) * groups
    inputs = (*sums_over, ratios, *parts, of_bn, n, c, most, groups)
    _run(columns_kernel, programs, *inputs, bn=at, k=ratios.size(1), **blocks)
    if groups > 1:
        _merge(parts, out, groups)
    if groups > 1 and bn is not None and of_bn is not None:
        _merge(of_bn, bn, groups)


def _merge(
    pair: Sequence[Tensor] | Tensor, out: Sequence[Tensor] | Tensor, parts: int,
    chunk: int = 0, area: int = 0, total: Tensor | None = None,
) -> None:  # fmt: skip
    """Two sums of parts (P, M); or moments where parts have ``chunk`` of ``area`` elements."""
    a, b = pair
    maps = a.numel() // parts
    blocks, groups, most = _columns(parts)
    into = out if groups == 1 else a.new_empty(2, groups, maps)
    programs = _cdiv(maps, blocks['block_c']) * groups
    sizes = (maps, maps, parts, most, chunk, area, 0)
    _run(merge_kernel, programs, a, b, None, *into, total, *sizes, moments=area > 0, **blocks)
    if groups > 1:
        _merge(into, out, groups, chunk * most, area, total)


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
    measured = (steps * constants['block_s'], area) if dy is None else ()
    _merge(parts, (a, b), splits, *measured)
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
    block_r, wanted = min(_pad(rows), most), _PROGRAMS * _processors(x.get_device())
    while block_r > least and outer * _cdiv(rows, block_r) < wanted:
        block_r //= 2
    block_s = min(_pad(area), _CELLS // (block_r if last else 1))
    blocks, tiles = outer * _cdiv(rows, block_r), _cdiv(area, block_s)
    steps = tiles
    if not reduces:  # in channels last, further steps of large maps need not load the factors
        steps = 4 if last and blocks * tiles >= 8 * wanted else 1
    elif 2 * blocks <= wanted:
        steps = max(min(2, tiles), _cdiv(tiles, _cdiv(wanted, blocks)))
    splits = _cdiv(tiles, steps)
    constants = dict(align=math.gcd(fast, 16), last=last, block_r=block_r, block_s=block_s)
    warps = _warps(block_r * block_s, 16, 8)
    return blocks * splits, (rows, area, splits, steps), dict(constants, num_warps=warps)


@cache
def _processors(device: int) -> int:
    """Of a GPU, which many programs keep busy; 1 for what is none."""
    return 1 if device < 0 else torch.cuda.get_device_properties(device).multi_processor_count


def _is_too_wide(mean: Tensor, normalizers: Sequence[str], num_groups: int) -> bool:
    _, _, block_g, block_j = _row(mean, normalizers, num_groups)
    return block_g * block_j * mean.itemsize > 4 * _WIDEST


def _row(mean: Tensor, normalizers: Sequence[str], num_groups: int) -> tuple[int, int, int, int]:
    """GN's groups, 1 without it, and their size; both as powers of 2."""
    groups = num_groups if 'GN' in normalizers else 1
    size = mean.size(1) // groups
    return groups, size, _pad(groups), _pad(size)


def _share(
    mean: Tensor, normalizers: Sequence[str], num_groups: int
) -> tuple[int, tuple[int, ...], dict[str, Any]]:
    """How many programs share (N, C); samples, groups, their size; constants."""
    n = len(mean)
    groups, size, block_g, block_j = _row(mean, normalizers, num_groups)
    row = block_g * block_j
    whole = _pad(n) * row * mean.itemsize <= 4 * (_WHOLE if groups == 1 else _WHOLE // 2)
    block_n = _pad(n) if whole else max(1, _SPLIT // row)
    constants = dict(
        kinds=sum(_KINDS[name] << 2 * i for i, name in enumerate(normalizers)),
        k=len(normalizers),
        block_k=max(2, _pad(len(normalizers))),
        block_n=block_n,
        block_g=block_g,
        block_j=block_j,
        num_warps=_warps(block_n * row, 8, 16),
    )
    return _cdiv(n, block_n), (n, groups, size), constants


def _columns(rows: int) -> tuple[dict[str, int], int, int]:
    """Blocks of a program that goes through rows of some columns; groups of rows, their size."""
    groups = _cdiv(rows, _PARTS)
    block_n = min(_pad(rows), 256)
    block_c = max(1, min(16, 4096 // block_n))
    blocks = dict(block_n=block_n, block_c=block_c, num_warps=_warps(block_n * block_c, 8, 16))
    return blocks, groups, _PARTS if groups > 1 else rows


def _choice_blocks(k: int) -> dict[str, int]:
    block_k = max(2, _pad(k))
    return dict(k=k, block_k=block_k, block_r=max(1, 1024 // block_k**2), num_warps=4)


def _full(k: int) -> float:
    return math.sqrt((k - 1) / k) - 1e-6  # the slack is for radii stored in float32


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
