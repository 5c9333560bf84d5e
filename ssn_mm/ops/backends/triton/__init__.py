"""The backend ``triton``: launches of its kernels, planned by ``plans``."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...moments import Moments, gather_processes, sum_processes
from ...norm import Logits, Norm, PerChannel
from ...projection import one_hot_radius
from .. import mix as plain
from ..mix import Mixed
from ..record import FLOATS, Backend
from ..saved import Saved, state_size, unpack
from .kernels import affine_kernel, merge_kernel, reduce_kernel
from .mix_kernels import columns_kernel, mix_grad_kernel, mix_kernel, ratios_grad_kernel
from .plans import (
    cdiv,
    is_too_wide,
    plan_cells,
    plan_columns,
    plan_map,
    plan_parts,
)


def why_not(device: torch.device, dtype: torch.dtype) -> str:
    """Launches the kernels that see a map on one of this type; raises what they raise."""
    x = torch.zeros(1, 2, 4, device=device, dtype=dtype)
    affine(x, *moments(x), None)
    return ''


def is_faster_in_torch(name: str, x: Tensor) -> bool:
    """Whether torch's own layer is faster for this normalizer alone: batch norm is."""
    return name in ('BN', 'FBN')


def forward(
    x: Tensor, logits: Logits, norm: Norm, channels: PerChannel
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The operator's forward pass: y, ratios, state and batch as ``fused`` has them."""
    values, radius = logits
    if radius is not None:
        logits = Logits(values, radius.to(values))
    n, c = x.shape[:2]
    state = values.new_empty(state_size(n, c))
    saved = unpack(state, n, c)
    if norm.measures:
        _reduce(None, x, None, (saved.mean, saved.var))
    else:
        state[: 2 * n * c].zero_()
    mixed = mix(saved.mean, saved.var, logits, norm, channels, out=saved)
    y = affine(x, mixed.shift, mixed.scale, channels.bias)
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


def mix(
    mean: Tensor, var: Tensor, logits: Logits, norm: Norm, channels: PerChannel,
    joint: Tensor | None = None, out: Saved | None = None,
) -> Mixed:  # fmt: skip
    """Mixes as ``backends.mix.mix`` does, into the parts of ``out`` where it is given."""
    (n, c), k = mean.shape, len(norm.normalizers)
    if is_too_wide(mean, norm):
        mixed = plain.mix(mean, var, logits, norm, channels, joint)
        if out is not None:
            for name in ('stretch', 'bend', 'shift', 'rstd', 'scale'):
                getattr(out, name).copy_(getattr(mixed, name))
            out.share.fill_(1)
        return mixed
    programs, sizes, constants = plan_cells(mean, norm)
    measure = 'BN' in norm.normalizers and joint is None
    if out is None:
        out = unpack(mean.new_empty(state_size(n, c)), n, c)
    ratios = mean.new_empty(2, k)
    batch = mean.new_empty(2, c if measure else 0) if joint is None else joint
    bn = batch if batch.numel() else (None, None)
    if measure and programs > 1:
        _merge((mean, var), batch, n, 1, n)
    wanted = None if norm.source == 'selected' else logits.values
    inputs = (mean, var, wanted, logits.radius, channels.weight, *bn, *channels[2:])
    curve = (out.stretch, out.bend)
    outputs = (ratios, *curve, out.shift, out.rstd, out.scale, out.share)
    constants |= dict(eps=norm.eps, full=one_hot_radius(k), measure=measure and programs == 1)
    _run(mix_kernel, programs, *inputs, *outputs, *sizes, **constants)
    return Mixed(ratios, *curve, out.shift, out.rstd, out.scale, batch)


def joint_moments(mean: Tensor, var: Tensor, elements: int) -> tuple[Tensor, Tensor]:
    """Measures what ``backends.mix.joint_moments`` does."""
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
    mixed: Mixed, own: Moments, sums: tuple[Tensor, Tensor], logits: Tensor, norm: Norm,
    channels: PerChannel, area: int, share: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor, Tensor]:  # fmt: skip
    """Computes what ``backends.mix.mix_backward`` does."""
    mean, var = own
    c, k = mean.size(1), len(norm.normalizers)
    if is_too_wide(mean, norm):
        return plain.mix_backward(mixed, own, sums, logits, norm, channels, area, share)
    programs, sizes, constants = plan_cells(mean, norm)
    wanted = None if norm.source == 'selected' else logits
    constrained = norm.source == 'logits'
    slope, offset = torch.empty_like(mean), torch.empty_like(mean)
    columns, bn = (mean.new_empty(c), mean.new_empty(c)), None
    dlogits = parts = None if wanted is None else torch.empty_like(wanted)
    if wanted is not None and programs > 1:
        parts = mean.new_empty(programs, 2, k)
    measured = 'BN' in norm.normalizers
    sums_over = (*sums, mixed.rstd, mixed.scale)
    selection = (wanted, mixed.ratios, mixed.stretch, mixed.bend)
    apart = programs > 1 or share is not None
    if apart:
        bn = mean.new_empty(2, c) if measured else None
        _sum_columns(sums_over, mixed.ratios, columns, bn, norm)
    if bn is not None and share is not None:
        sum_processes(bn)
    constants |= dict(constrained=constrained, whole=programs == 1)
    bn_moments = mixed.batch if measured else (None, None)
    inputs = (mean, var, *sums_over, *bn_moments, *channels[2:], bn, share, *selection)
    outputs = (slope, offset, parts, *((None, None) if apart else columns))
    _run(mix_grad_kernel, programs, *inputs, *outputs, *sizes, area, **constants)
    if parts is not dlogits:
        blocks = plan_parts(k, programs)
        of_parts = (parts, *selection, dlogits, 2, programs)
        _run(ratios_grad_kernel, 1, *of_parts, constrained=constrained, **blocks)
    dbias, dweight = columns
    return slope, offset, dlogits, dweight, dbias


def _sum_columns(
    sums_over: Sequence[Tensor], ratios: Tensor, out: Sequence[Tensor], bn: Tensor | None,
    norm: Norm,
) -> None:  # fmt: skip
    """Sums gradients over samples, for bias and weight into ``out``, for BN's into ``bn``."""
    n, c = sums_over[0].shape
    blocks, groups, most = plan_columns(n)
    parts, of_bn = out, bn
    if groups > 1:
        parts = ratios.new_empty(2, groups, c).unbind()
        of_bn = None if bn is None else ratios.new_empty(2, groups, c)
    at = 0 if bn is None else norm.normalizers.index('BN')
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
    """Merges parts (P, M) of two sums; or of moments, each of ``chunk`` of ``area`` elements."""
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


BACKEND = Backend(
    devices=('cuda', 'cpu'),  # its interpreter runs on a CPU
    dtypes=FLOATS,
    why_not=why_not,
    is_faster_in_torch=is_faster_in_torch,
    moments=moments,
    affine=affine,
    sums=sums,
    affine_grad=affine_grad,
    mix=mix,
    mix_backward=mix_backward,
    joint_moments=joint_moments,
    forward=forward,
)
