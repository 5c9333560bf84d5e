"""Kernels for GPUs between the passes over the map: SparsestMax and mixing.

They see the numbers (N, C) as cells (sample, group, member), with one group where there is no GN.
Indices and loops are those of ``kernels``. Numbers that float32 does not hold are put into the
tensors' type by ``tl.full``, since Triton up to 3.7 rounds a plain one to float32.
"""

import triton
import triton.language as tl

from ...projection import TIE_DISTANCE
from .plans import KINDS

_IN, _LN = tl.constexpr(KINDS['IN']), tl.constexpr(KINDS['LN'])
_BN, _GN = tl.constexpr(KINDS['BN']), tl.constexpr(KINDS['GN'])
_FBN = tl.constexpr(KINDS['FBN'])
_TIE = tl.constexpr(TIE_DISTANCE)


@triton.jit
def _stretch(square, m, r, k: tl.constexpr):
    """How far the circle stretches a direction in a face of m entries; 1 where it lies outside."""
    rho2 = r * r + (1.0 / tl.full((), k, r.dtype) - 1.0 / m)
    rho2 = tl.where(rho2 < 0.0, 0.0, rho2)  # a NaN radius stays
    stretch = tl.sqrt(rho2) / tl.maximum(tl.sqrt(square), tl.full((), _TIE, square.dtype))
    return tl.where(square >= rho2, 1.0, stretch)


@triton.jit
def _select(
    z_ptr, radius_ptr, p_ptr, stretch_ptr, bend_ptr, row, rows, radius_stride,
    full: tl.constexpr, k: tl.constexpr, block_k: tl.constexpr,
):  # fmt: skip
    """Stores SparsestMax of rows (R, 1) as `projection.solve` has it; returns p (R, K).

    Without a radius the logits are p. Without logits, row 0 has selected the first column and row 1
    the last.
    """
    column = tl.arange(0, block_k)[None, :]
    listed = (row < rows) & (column < k)
    if z_ptr is None:
        p = tl.where(column == row * (k - 1), 1.0, 0.0).to(p_ptr.dtype.element_ty)
    else:
        p = tl.load(z_ptr + row * k + column, mask=listed, other=-1e30)
    stretch, bend = tl.full(row.shape, 1, p.dtype), tl.zeros(row.shape, p.dtype)
    if radius_ptr is not None:
        r = tl.load(radius_ptr + row * radius_stride, mask=row < rows, other=0.0).to(p.dtype)
        top = tl.max(p, 1, keep_dims=True)
        first = tl.min(tl.where(p == top, column, k), 1, keep_dims=True)
        z = tl.where(listed, p - top, -1e15)  # padding never fits
        # for each entry (R, K, 1), the face of the entries that are not below it
        least, others = z[:, :, None], z[:, None, :]
        m = tl.sum(tl.where(others >= least, 1.0, 0.0).to(z.dtype), 2, keep_dims=True)
        total = tl.sum(tl.where(others >= least, others, 0.0), 2, keep_dims=True)
        d = tl.where(others >= least, others - total / m, 0.0)
        stretches = _stretch(tl.sum(d * d, 2, keep_dims=True), m, r[:, :, None], k)
        fits = (m * least - total > -1.0) & (1.0 / m + stretches * (least - total / m) >= 0.0)
        least = tl.min(tl.min(tl.where(fits, least, 0.0), 2), 1, keep_dims=True)
        face = (z >= least).to(z.dtype)
        m = tl.sum(face, 1, keep_dims=True)
        d = (z - tl.sum(z * face, 1, keep_dims=True) / m) * face
        square = tl.sum(d * d, 1, keep_dims=True)
        one_hot, tie = r >= tl.full((), full, r.dtype), tl.full((), _TIE * _TIE, square.dtype)
        stretch = tl.where(one_hot, 1.0, _stretch(square, m, r, k))
        bend = stretch / tl.maximum(square, tie)
        bend = tl.where((stretch == 1.0) | (square <= tie), 0.0, bend)
        p = tl.where(one_hot, (column == first).to(z.dtype), (1.0 / m + stretch * d) * face)
    tl.store(p_ptr + row * k + column, p, mask=listed)
    tl.store(stretch_ptr + row, stretch, mask=row < rows)
    tl.store(bend_ptr + row, bend, mask=row < rows)
    return p


@triton.jit
def _store_dlogits(
    g, z_ptr, p_ptr, stretch_ptr, bend_ptr, dz_ptr, row, rows,
    constrained: tl.constexpr, k: tl.constexpr, block_k: tl.constexpr,
):  # fmt: skip
    """Stores `projection.jacobian_product` of g (R, K), or g itself where logits are the ratios."""
    column = tl.arange(0, block_k)[None, :]
    listed = (row < rows) & (column < k)
    if constrained:
        z = tl.load(z_ptr + row * k + column, mask=listed, other=0.0)
        face = (tl.load(p_ptr + row * k + column, mask=listed, other=0.0) > 0.0).to(g.dtype)
        stretch = tl.load(stretch_ptr + row, mask=row < rows, other=0.0)
        bend = tl.load(bend_ptr + row, mask=row < rows, other=0.0)
        m = tl.sum(face, 1, keep_dims=True)
        g = (g - tl.sum(g * face, 1, keep_dims=True) / m) * face
        z -= tl.max(tl.where(face > 0.0, z, -1e30), 1, keep_dims=True)  # keeps large logits exact
        d = (z - tl.sum(z * face, 1, keep_dims=True) / m) * face
        g = stretch * g - bend * tl.sum(d * g, 1, keep_dims=True) * d
    tl.store(dz_ptr + row * k + column, g, mask=listed)


@triton.jit
def ratios_grad_kernel(
    g_ptr, z_ptr, p_ptr, stretch_ptr, bend_ptr, dz_ptr, rows, parts, constrained: tl.constexpr,
    k: tl.constexpr, block_p: tl.constexpr, block_r: tl.constexpr, block_k: tl.constexpr,
):  # fmt: skip
    """Sums g (parts, rows, K) over its parts and stores the gradients for logits."""
    row = tl.program_id(0).to(tl.int64) * block_r + tl.arange(0, block_r)[:, None]
    column = tl.arange(0, block_k)[None, :]
    listed = ((row < rows) & (column < k))[None, :, :]
    g = tl.zeros((block_p, block_r, block_k), g_ptr.dtype.element_ty)
    for start in range(0, parts, block_p):
        part = start + tl.arange(0, block_p)[:, None, None].to(tl.int64)
        at = part * rows * k + (row * k + column)[None, :, :]
        g += tl.load(g_ptr + at, mask=listed & (part < parts), other=0.0)
    g = tl.sum(g, 0)
    _store_dlogits(
        g, z_ptr, p_ptr, stretch_ptr, bend_ptr, dz_ptr, row, rows, constrained, k, block_k
    )


@triton.jit
def _cells(n, groups, size, block_n: tl.constexpr, block_g: tl.constexpr, block_j: tl.constexpr):
    """This program's cells (N, G, J).

    Returns the index of the first one in (N, C), those of all from there on, and which exist; the
    channels, and which of these exist.
    """
    first = tl.program_id(0).to(tl.int64) * block_n
    sample = tl.arange(0, block_n)[:, None, None]
    group, member = tl.arange(0, block_g)[None, :, None], tl.arange(0, block_j)[None, None, :]
    channel, known = group * size + member, (group < groups) & (member < size)
    c = groups * size
    return first * c, sample * c + channel, known & (sample < n - first), channel, known


@triton.jit
def _average(t, n, groups, size, kind: tl.constexpr):
    """A_k of `backends.mix` over cells; those that do not exist are 0."""
    if kind == _LN:
        t = tl.sum(tl.sum(t, 2, keep_dims=True), 1, keep_dims=True) / (groups * size)
    elif kind == _GN:
        t = tl.sum(t, 2, keep_dims=True) / size
    elif kind == _BN:
        t = tl.sum(t, 0, keep_dims=True) / n
    else:
        tl.static_assert(kind == _IN, '_average has no case for this normalizer')
    return t


@triton.jit
def _merged(
    mean, var, bn_mean_ptr, bn_var_ptr, running_mean_ptr, running_var_ptr, inside, channel, known,
    n, groups, size, kind: tl.constexpr, measure: tl.constexpr,
):  # fmt: skip
    """m_k and v_k of `backends.mix`; BN's are read, or measured and stored; FBN's are read."""
    if kind == _FBN:
        m = tl.load(running_mean_ptr + channel, mask=known, other=0.0)
        v = tl.load(running_var_ptr + channel, mask=known, other=0.0)
    elif (kind == _BN) & (not measure):
        m = tl.load(bn_mean_ptr + channel, mask=known, other=0.0)
        v = tl.load(bn_var_ptr + channel, mask=known, other=0.0)
    else:
        m = _average(mean, n, groups, size, kind)
        away = tl.where(inside, mean - m, 0.0)
        v = _average(var + away * away, n, groups, size, kind)
        if kind == _BN:
            tl.store(bn_mean_ptr + channel, m, mask=known)
            tl.store(bn_var_ptr + channel, v, mask=known)
    return m, v


@triton.jit
def mix_kernel(
    mean_ptr, var_ptr, logits_ptr, radius_ptr, weight_ptr, bn_mean_ptr, bn_var_ptr,
    running_mean_ptr, running_var_ptr, ratios_ptr, stretch_ptr, bend_ptr, shift_ptr, rstd_ptr,
    scale_ptr, share_ptr, n, groups, size,
    eps: tl.constexpr, full: tl.constexpr, measure: tl.constexpr, kinds: tl.constexpr,
    bits: tl.constexpr, k: tl.constexpr, block_k: tl.constexpr,
    block_n: tl.constexpr, block_g: tl.constexpr, block_j: tl.constexpr,
):  # fmt: skip
    row, column = tl.arange(0, 2)[:, None], tl.arange(0, block_k)[None, :]
    p = _select(
        logits_ptr, radius_ptr, ratios_ptr, stretch_ptr, bend_ptr, row, 2, 0, full, k, block_k
    )
    if share_ptr is not None:
        tl.store(share_ptr, 1.0, mask=tl.program_id(0) == 0)
    first, at, inside, channel, known = _cells(n, groups, size, block_n, block_g, block_j)
    mean = tl.load(mean_ptr + first + at, mask=inside, other=0.0)
    var = tl.load(var_ptr + first + at, mask=inside, other=0.0)
    shift, rstd = tl.zeros_like(mean), tl.full(mean.shape, eps, mean.dtype)
    for i in tl.static_range(k):
        m, v = _merged(
            mean, var, bn_mean_ptr, bn_var_ptr, running_mean_ptr, running_var_ptr, inside, channel,
            known, n, groups, size, (kinds >> bits * i) % (1 << bits), measure,
        )  # fmt: skip
        shift += m * tl.sum(tl.where((column == i) & (row == 0), p, 0.0))
        rstd += v * tl.sum(tl.where((column == i) & (row == 1), p, 0.0))
    rstd = 1.0 / tl.sqrt(rstd)
    tl.store(shift_ptr + first + at, shift, mask=inside)
    tl.store(rstd_ptr + first + at, rstd, mask=inside)
    if weight_ptr is not None:
        rstd *= tl.load(weight_ptr + channel, mask=known, other=0.0)
    tl.store(scale_ptr + first + at, rstd, mask=inside)


@triton.jit
def _gradients(total_ptr, dot_ptr, rstd_ptr, scale_ptr, first, at, inside):
    """T, R·E, G_M and G_V of `backends.mix`."""
    total = tl.load(total_ptr + first + at, mask=inside, other=0.0)
    rstd = tl.load(rstd_ptr + first + at, mask=inside, other=0.0)
    scale = tl.load(scale_ptr + first + at, mask=inside, other=0.0)
    dot = rstd * tl.load(dot_ptr + first + at, mask=inside, other=0.0)
    return total, dot, -scale * total, -0.5 * scale * rstd * dot


@triton.jit
def columns_kernel(
    total_ptr, dot_ptr, rstd_ptr, scale_ptr, p_ptr, dbias_ptr, dweight_ptr, bn_ptr,
    n, c, most, groups,
    bn: tl.constexpr, k: tl.constexpr, block_n: tl.constexpr, block_c: tl.constexpr,
):  # fmt: skip
    """Sums over up to ``most`` samples the gradients for bias, weight, BN's mean and variance."""
    pid, blocks = tl.program_id(0).to(tl.int64), (c - 1) // block_c + 1
    channel = pid % blocks * block_c + tl.arange(0, block_c)[None, :]
    first = pid // blocks * most
    known = channel < c
    wide = total_ptr.dtype.element_ty
    dbias, dweight = tl.zeros((block_n, block_c), wide), tl.zeros((block_n, block_c), wide)
    dmean, dvar = tl.zeros((block_n, block_c), wide), tl.zeros((block_n, block_c), wide)
    for start in range(0, tl.minimum(n - first, most), block_n):
        sample = first + start + tl.arange(0, block_n)[:, None]
        inside = (sample < n) & (sample - first < most) & known
        total, dot, to_mean, to_var = _gradients(
            total_ptr, dot_ptr, rstd_ptr, scale_ptr, 0, sample * c + channel, inside
        )
        dbias += total
        dweight += dot
        dmean += to_mean
        dvar += to_var
    out = pid // blocks * c + channel
    tl.store(dbias_ptr + out, tl.sum(dbias, 0, keep_dims=True), mask=known)
    tl.store(dweight_ptr + out, tl.sum(dweight, 0, keep_dims=True), mask=known)
    if bn_ptr is not None:
        p, p_var = tl.load(p_ptr + bn), tl.load(p_ptr + k + bn)
        tl.store(bn_ptr + out, p * tl.sum(dmean, 0, keep_dims=True), mask=known)
        out += groups * c
        tl.store(bn_ptr + out, p_var * tl.sum(dvar, 0, keep_dims=True), mask=known)


@triton.jit
def mix_grad_kernel(
    mean_ptr, var_ptr, total_ptr, dot_ptr, rstd_ptr, scale_ptr,
    bn_mean_ptr, bn_var_ptr, running_mean_ptr, running_var_ptr, bn_ptr, share_ptr,
    z_ptr, p_ptr, stretch_ptr, bend_ptr,
    slope_ptr, offset_ptr, dlogits_ptr, dbias_ptr, dweight_ptr, n, groups, size, area,
    constrained: tl.constexpr, whole: tl.constexpr, kinds: tl.constexpr,
    bits: tl.constexpr, k: tl.constexpr, block_k: tl.constexpr,
    block_n: tl.constexpr, block_g: tl.constexpr, block_j: tl.constexpr,
):  # fmt: skip
    first, at, inside, channel, known = _cells(n, groups, size, block_n, block_g, block_j)
    mean = tl.load(mean_ptr + first + at, mask=inside, other=0.0)
    var = tl.load(var_ptr + first + at, mask=inside, other=0.0)
    total, dot, to_mean, to_var = _gradients(
        total_ptr, dot_ptr, rstd_ptr, scale_ptr, first, at, inside
    )
    if dbias_ptr is not None:
        tl.store(dbias_ptr + channel, tl.sum(total, 0, keep_dims=True), mask=known)
        tl.store(dweight_ptr + channel, tl.sum(dot, 0, keep_dims=True), mask=known)
    origin = tl.zeros_like(mean)
    if (
        constrained
    ):  # the Jacobian drops what a row's gradients have in common; here it would cancel
        origin = mean
    row, column = tl.arange(0, 2)[:, None], tl.arange(0, block_k)[None, :]
    dp = tl.zeros((2, block_k), mean.dtype)
    dmean, dvar = tl.zeros_like(mean), tl.zeros_like(mean)
    for i in tl.static_range(k):
        m, v = _merged(
            mean, var, bn_mean_ptr, bn_var_ptr, running_mean_ptr, running_var_ptr, inside, channel,
            known, n, groups, size, (kinds >> bits * i) % (1 << bits), False,
        )  # fmt: skip
        if dlogits_ptr is not None:
            dp += tl.where((column == i) & (row == 0), tl.sum(to_mean * (m - origin)), 0.0)
            dp += tl.where((column == i) & (row == 1), tl.sum(to_var * v), 0.0)
        if (kinds >> bits * i) % (1 << bits) == _FBN:
            g_mean, g_var = tl.zeros_like(mean), tl.zeros_like(mean)
        elif ((kinds >> bits * i) % (1 << bits) == _BN) & (bn_ptr is not None):
            # sums over all samples, with p
            g_mean = tl.load(bn_ptr + channel, mask=known, other=0.0) / n
            g_var = tl.load(bn_ptr + groups * size + channel, mask=known, other=0.0) / n
            if share_ptr is not None:
                g_mean, g_var = g_mean * tl.load(share_ptr), g_var * tl.load(share_ptr)
        else:
            g_mean = _average(to_mean, n, groups, size, (kinds >> bits * i) % (1 << bits))
            g_var = _average(to_var, n, groups, size, (kinds >> bits * i) % (1 << bits))
            g_mean, g_var = tl.load(p_ptr + i) * g_mean, tl.load(p_ptr + k + i) * g_var
        dmean += g_mean + 2.0 * (mean - m) * g_var
        dvar += g_var
    slope = 2.0 * dvar / area
    tl.store(slope_ptr + first + at, slope, mask=inside)
    tl.store(offset_ptr + first + at, dmean / area, mask=inside)
    if dlogits_ptr is not None:
        _store_dlogits(
            dp, z_ptr, p_ptr, stretch_ptr, bend_ptr,
            dlogits_ptr + tl.program_id(0).to(tl.int64) * 2 * k, row, 2,
            whole & constrained, k, block_k,
        )  # fmt: skip
