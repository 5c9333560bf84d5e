"""The backend ``triton``: launches of its kernels, planned by ``plans``."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...moments import gather_processes, sum_processes
from .. import mix as plain
from ..mix import Mixed
from .kernels import affine_kernel, merge_kernel, reduce_kernel
from .mix_kernels import (
    FIXED,
    OWN,
    READ,
    choice_grad_kernel,
    choice_kernel,
    columns_kernel,
    mix_grad_kernel,
    mix_kernel,
)
from .plans import (
    cdiv,
    full_radius,
    is_too_wide,
    plan_cells,
    plan_choice,
    plan_columns,
    plan_map,
    plan_parts,
)


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
    blocks = plan_choice(k)
    programs = cdiv(rows, blocks['block_r'])
    _run(choice_kernel, programs, z, radius, *chosen, rows, stride, full=full_radius(k), **blocks)
    return chosen


def sparsestmax_backward(g: Tensor, z: Tensor, p: Tensor, stretch: Tensor, bend: Tensor) -> Tensor:
    """As ``ops.sparsestmax.jacobian_product``, for (rows, K) and (rows,) tensors."""
    rows, k = z.shape
    dz = torch.empty_like(z)
    constants = dict(constrained=True, block_p=1, **plan_choice(k))
    programs = cdiv(rows, constants['block_r'])
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
    if is_too_wide(mean, normalizers, num_groups):
        options = (radius, weight, running_mean, running_var, normalizers, eps, num_groups)
        mixed = plain.mix(mean, var, logits, *options)
        for kept, t in zip(out, mixed[1:6], strict=False):
            kept.copy_(t)
        if out:
            out[5].fill_(1)
        return mixed
    programs, sizes, constants = plan_cells(mean, normalizers, num_groups)
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
    constants |= dict(eps=eps, full=full_radius(k), measure=measure and programs == 1)
    _run(mix_kernel, programs, *inputs, *outputs, *sizes, **constants)
    return Mixed(ratios, stretch, bend, shift, rstd, scale, batch)


def joint_moments(mean: Tensor, var: Tensor, elements: int) -> tuple[Tensor, Tensor]:
    """As ``backends.mix.joint_moments``."""
    n, c = mean.shape
    own = mean.new_empty(2 * c + 1)
    _merge((mean, var), own[:-1].view(2, c), n, elements // n, elements, own[-1:])
    every = gather_processes(own)
    batch, share = mean.new_empty(2, c), mean.new_empty(1)
    parts, blocks = len(every), plan_columns(len(every))[0]
    pointers = (every, every[0, c:], every[0, -1:], *batch, share)
    sizes = (c, 2 * c + 1, parts, parts, 0, 0, elements)
    programs = cdiv(c, blocks['block_c'])
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
    if is_too_wide(mean, normalizers, num_groups):
        return plain.mix_backward(
            *(mixed, mean, var, total, dot, logits, weight, running_mean, running_var),
            *(area, constrained, normalizers, num_groups, share),
        )
    programs, sizes, constants = plan_cells(mean, normalizers, num_groups)
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
        blocks = plan_parts(k, programs)
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
    blocks, groups, most = plan_columns(n)
    parts, of_bn = out, bn
    if groups > 1:
        parts = ratios.new_empty(2, groups, c).unbind()
        of_bn = None if bn is None else ratios.new_empty(2, groups, c)
    at = 0 if bn is None else normalizers.index('BN')
    programs = cdiv(c, blocks['block_c']) * groups
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
    blocks, groups, most = plan_columns(parts)
    into = out if groups == 1 else a.new_empty(2, groups, maps)
    programs = cdiv(maps, blocks['block_c']) * groups
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
    programs, sizes, constants = plan_map(x, reduces=True)
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
    programs, sizes, constants = plan_map(x, reduces=False)
    inputs = (dy, x, shift, scale, slope, offset)
    _run(affine_kernel, programs, *inputs, out, period, *sizes, **constants)
    return out


def _run(kernel: Any, programs: int, *arguments: Any, **constants: Any) -> None:
    near = next(a for a in arguments if isinstance(a, Tensor))
    with torch.cuda.device_of(near):  # which need not be the current one
        kernel[(programs,)](*arguments, enable_fp_fusion=True, **constants)
