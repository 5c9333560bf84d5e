"""Kernels for GPUs: those that stream the map, and small ones for the (N, C) numbers between.

A map is (outer, rows, area): contiguous (1, N·C, S), or channels last (N, C, S) with the rows side
by side. A program owns a tile of rows by pixels, with an accumulator per cell that is reduced once
at its end; without atomics, so runs agree bitwise.

The small stage sees (N, C) as cells (sample, group, member), with one group where there is no GN.
"""

import triton
import triton.language as tl

from ...sparsestmax import TIE_DISTANCE

_LN, _BN, _GN = tl.constexpr(1), tl.constexpr(2), tl.constexpr(3)
_TIE = tl.constexpr(TIE_DISTANCE)


@triton.jit
def _own(rows, splits, steps, last: tl.constexpr, block_r: tl.constexpr, block_s: tl.constexpr):
    """This program's outer index, rows (R, 1), split and first pixels (1, S)."""
    pid = tl.program_id(0)
    blocks = tl.cdiv(rows, block_r)
    block, split = pid // splits % blocks, pid % splits
    if last:  # neighbours in memory run together
        block, split = pid % blocks, pid // blocks % splits
    row = block * block_r + tl.arange(0, block_r)[:, None]
    pixel = split * steps * block_s + tl.arange(0, block_s)[None, :]
    return pid // (blocks * splits), row, split, pixel


@triton.jit
def _locate(outer, row, pixel, rows, area, align: tl.constexpr, last: tl.constexpr):
    """Offsets of a tile, 64 bits wide as maps may have 2^31 elements, and which of it exist."""
    if last:  # the factor align lets the compiler load vectors
        rows = rows // align * align
        offset = (outer.to(tl.int64) * area + pixel) * rows + row
    else:
        area = area // align * align
        offset = row.to(tl.int64) * area + pixel
    return offset, (row < rows) & (pixel < area)


@triton.jit
def reduce_kernel(
    dy_ptr, x_ptr, shift_ptr, a_ptr, b_ptr, maps, rows, area, splits, steps,
    align: tl.constexpr, last: tl.constexpr, block_r: tl.constexpr, block_s: tl.constexpr,
):  # fmt: skip
    """Σdy and Σdy·(x - shift) of this split; without dy mean and variance of x."""
    outer, row, split, pixel = _own(rows, splits, steps, last, block_r, block_s)
    wide = a_ptr.dtype.element_ty
    a, b = tl.zeros((block_r, block_s), wide), tl.zeros((block_r, block_s), wide)
    one = tl.full((), 1, wide)
    if dy_ptr is not None:
        shift = tl.load(shift_ptr + outer * rows + row, mask=row < rows, other=0.0)
    for step in range(steps):
        offset, inside = _locate(outer, row, pixel + step * block_s, rows, area, align, last)
        x = tl.load(x_ptr + offset, mask=inside, other=0.0).to(wide)
        if dy_ptr is not None:
            dy = tl.load(dy_ptr + offset, mask=inside, other=0.0).to(wide)
            a += dy
            b += dy * (x - shift)
        else:  # each cell's mean and Σ(x - mean)²
            delta = tl.where(inside, x - a, 0.0)
            a += delta * (one / (step + 1))
            b += delta * (x - a)
    if dy_ptr is None:
        end = tl.minimum(area, (split + 1) * steps * block_s)
        own, count = (end - pixel + block_s - 1) // block_s, end - split * steps * block_s
        middle = tl.sum(a * own, 1, keep_dims=True) / count
        b = tl.sum(b + own * (a - middle) * (a - middle), 1, keep_dims=True) / count
        a = middle
    else:
        a, b = tl.sum(a, 1, keep_dims=True), tl.sum(b, 1, keep_dims=True)
    at = split * maps + outer * rows + row
    tl.store(a_ptr + at, a, mask=row < rows)
    tl.store(b_ptr + at, b, mask=row < rows)


@triton.jit
def merge_kernel(
    a_ptr, b_ptr, a_out_ptr, b_out_ptr, maps, splits, chunk, area,
    moments: tl.constexpr, block_n: tl.constexpr, block_c: tl.constexpr,
):  # fmt: skip
    """Sums of parts; or moments, from those of parts of ``chunk`` elements, the last of fewer."""
    part = tl.arange(0, block_n)[:, None]
    at = tl.program_id(0) * block_c + tl.arange(0, block_c)[None, :]
    inside = (part < splits) & (at < maps)
    a = tl.load(a_ptr + part * maps + at, mask=inside, other=0.0)
    b = tl.load(b_ptr + part * maps + at, mask=inside, other=0.0)
    if moments:
        count = tl.maximum(tl.minimum(area - part * chunk, chunk), 0)
        middle = tl.sum(a * count, 0, keep_dims=True) / area
        b = tl.sum((b + (a - middle) * (a - middle)) * count, 0, keep_dims=True) / area
        a = middle
    else:
        a, b = tl.sum(a, 0, keep_dims=True), tl.sum(b, 0, keep_dims=True)
    tl.store(a_out_ptr + at, a, mask=at < maps)
    tl.store(b_out_ptr + at, b, mask=at < maps)


@triton.jit
def affine_kernel(
    dy_ptr, x_ptr, shift_ptr, scale_ptr, slope_ptr, offset_ptr, out_ptr,
    period, rows, area, splits, steps,
    align: tl.constexpr, last: tl.constexpr, block_r: tl.constexpr, block_s: tl.constexpr,
):  # fmt: skip
    """scale·dy + slope·(x - shift) + offset, the first and the last only where given."""
    outer, row, _, pixel = _own(rows, splits, steps, last, block_r, block_s)
    at = outer * rows + row
    shift = tl.load(shift_ptr + at, mask=row < rows, other=0.0)
    slope = tl.load(slope_ptr + at, mask=row < rows, other=0.0)
    scale, constant = tl.zeros_like(shift), tl.zeros_like(shift)
    if dy_ptr is not None:
        scale = tl.load(scale_ptr + at, mask=row < rows, other=0.0)
    if offset_ptr is not None:
        constant = tl.load(offset_ptr + at % period, mask=row < rows, other=0.0)
    for step in range(steps):
        offset, inside = _locate(outer, row, pixel + step * block_s, rows, area, align, last)
        x = tl.load(x_ptr + offset, mask=inside, other=0.0).to(shift.dtype)
        out = slope * (x - shift) + constant
        if dy_ptr is not None:
            out += scale * tl.load(dy_ptr + offset, mask=inside, other=0.0).to(shift.dtype)
        tl.store(out_ptr + offset, out, mask=inside)


@triton.jit
def _stretch(square, m, r, k: tl.constexpr):
    """How far the circle stretches a direction in a face of m entries; 1 where it lies outside."""
    rho2 = r * r + (1 / k - 1.0 / m)
    rho2 = tl.where(rho2 < 0.0, 0.0, rho2)  # a NaN radius stays
    stretch = tl.sqrt(rho2) / tl.maximum(tl.sqrt(square), _TIE)
    return tl.where(square >= rho2, 1.0, stretch)


@triton.jit
def _choose(
    z_ptr, radius_ptr, p_ptr, stretch_ptr, bend_ptr, row, rows, radius_stride,
    full: tl.constexpr, k: tl.constexpr, block_k: tl.constexpr,
):  # fmt: skip
    """Stores the SparsestMax of rows (R, 1) as `solve` does, or the logits; returns p (R, K)."""
    column = tl.arange(0, block_k)[None, :]
    listed = (row < rows) & (column < k)
    p = tl.load(z_ptr + row * k + column, mask=listed, other=-1e30)
    stretch, bend = tl.full(row.shape, 1, p.dtype), tl.zeros(row.shape, p.dtype)
    if radius_ptr is not None:
        r = tl.load(radius_ptr + row * radius_stride, mask=row < rows, other=0.0).to(p.dtype)
        top = tl.max(p, 1, keep_dims=True)
        first = tl.min(tl.where(p == top, column, k), 1, keep_dims=True)
        z = tl.where(listed, p - top, -1e15)  # the others never fit
        # the face of all entries from each one (R, K, 1) up
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
        stretch = tl.where(r >= full, 1.0, _stretch(square, m, r, k))
        bend = stretch / tl.maximum(square, _TIE * _TIE)
        bend = tl.where((stretch == 1.0) | (square <= _TIE * _TIE), 0.0, bend)
        p = tl.where(r >= full, (column == first).to(z.dtype), (1.0 / m + stretch * d) * face)
    tl.store(p_ptr + row * k + column, p, mask=listed)
    tl.store(stretch_ptr + row, stretch, mask=row < rows)
    tl.store(bend_ptr + row, bend, mask=row < rows)
    return p


@triton.jit
def _store_dlogits(
    g, z_ptr, p_ptr, stretch_ptr, bend_ptr, dz_ptr, row, rows,
    constrained: tl.constexpr, k: tl.constexpr, block_k: tl.constexpr,
):  # fmt: skip
    """`jacobian_product` of g (R, K), or g itself."""
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
def choice_kernel(
    z_ptr, radius_ptr, p_ptr, stretch_ptr, bend_ptr, rows, radius_stride,
    full: tl.constexpr, k: tl.constexpr, block_r: tl.constexpr, block_k: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * block_r + tl.arange(0, block_r)[:, None]
    _choose(
        z_ptr, radius_ptr, p_ptr, stretch_ptr, bend_ptr, row, rows, radius_stride, full, k, block_k
    )


@triton.jit
def choice_grad_kernel(
    g_ptr, z_ptr, p_ptr, stretch_ptr, bend_ptr, dz_ptr, rows, parts, constrained: tl.constexpr,
    k: tl.constexpr, block_p: tl.constexpr, block_r: tl.constexpr, block_k: tl.constexpr,
):  # fmt: skip
    """Of g (parts, rows, K), which is summed first."""
    row = tl.program_id(0) * block_r + tl.arange(0, block_r)[:, None]
    column = tl.arange(0, block_k)[None, :]
    part = tl.arange(0, block_p)[:, None, None]
    at = part * rows * k + (row * k + column)[None, :, :]
    listed = (part < parts) & ((row < rows) & (column < k))[None, :, :]
    g = tl.sum(tl.load(g_ptr + at, mask=listed, other=0.0), 0)
    _store_dlogits(
        g, z_ptr, p_ptr, stretch_ptr, bend_ptr, dz_ptr, row, rows, constrained, k, block_k
    )


@triton.jit
def _cells(n, groups, size, block_n: tl.constexpr, block_g: tl.constexpr, block_j: tl.constexpr):
    """This program's cells (N, G, J): index in (N, C), which exist; channels and which exist."""
    sample = tl.program_id(0) * block_n + tl.arange(0, block_n)[:, None, None]
    group, member = tl.arange(0, block_g)[None, :, None], tl.arange(0, block_j)[None, None, :]
    channel, known = group * size + member, (group < groups) & (member < size)
    return sample * groups * size + channel, known & (sample < n), channel, known


@triton.jit
def _average(t, n, groups, size, kind: tl.constexpr):
    """A_k of cells that are 0 where none exist."""
    if kind == _LN:
        t = tl.sum(tl.sum(t, 2, keep_dims=True), 1, keep_dims=True) / (groups * size)
    if kind == _GN:
        t = tl.sum(t, 2, keep_dims=True) / size
    if kind == _BN:
        t = tl.sum(t, 0, keep_dims=True) / n
    return t


@triton.jit
def _merged(
    mean, var, bn_mean_ptr, bn_var_ptr, inside, channel, known, n, groups, size,
    kind: tl.constexpr, measure: tl.constexpr,
):  # fmt: skip
    """m_k and v_k. BN's are read, or measured and stored."""
    if (kind == _BN) & (not measure):
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
    ratios_ptr, stretch_ptr, bend_ptr, shift_ptr, rstd_ptr, scale_ptr, n, groups, size,
    eps: tl.constexpr, full: tl.constexpr, measure: tl.constexpr, kinds: tl.constexpr,
    k: tl.constexpr, block_k: tl.constexpr,
    block_n: tl.constexpr, block_g: tl.constexpr, block_j: tl.constexpr,
):  # fmt: skip
    row, column = tl.arange(0, 2)[:, None], tl.arange(0, block_k)[None, :]
    p = _choose(
        logits_ptr, radius_ptr, ratios_ptr, stretch_ptr, bend_ptr, row, 2, 0, full, k, block_k
    )
    at, inside, channel, known = _cells(n, groups, size, block_n, block_g, block_j)
    mean = tl.load(mean_ptr + at, mask=inside, other=0.0)
    var = tl.load(var_ptr + at, mask=inside, other=0.0)
    shift, rstd = tl.zeros_like(mean), tl.zeros_like(mean) + eps
    for i in tl.static_range(k):
        m, v = _merged(
            mean, var, bn_mean_ptr, bn_var_ptr, inside, channel, known, n, groups, size,
            (kinds >> 2 * i) & 3, measure,
        )  # fmt: skip
        shift += m * tl.sum(tl.where((column == i) & (row == 0), p, 0.0))
        rstd += v * tl.sum(tl.where((column == i) & (row == 1), p, 0.0))
    rstd = 1.0 / tl.sqrt(rstd)
    tl.store(shift_ptr + at, shift, mask=inside)
    tl.store(rstd_ptr + at, rstd, mask=inside)
    if weight_ptr is not None:
        rstd *= tl.load(weight_ptr + channel, mask=known, other=0.0)
    tl.store(scale_ptr + at, rstd, mask=inside)


@triton.jit
def _gradients(total_ptr, dot_ptr, rstd_ptr, scale_ptr, at, inside):
    """T, R·E and the gradients to M and V."""
    total = tl.load(total_ptr + at, mask=inside, other=0.0)
    rstd = tl.load(rstd_ptr + at, mask=inside, other=0.0)
    scale = tl.load(scale_ptr + at, mask=inside, other=0.0)
    dot = rstd * tl.load(dot_ptr + at, mask=inside, other=0.0)
    return total, dot, -scale * total, -0.5 * scale * rstd * dot


@triton.jit
def columns_kernel(
    total_ptr, dot_ptr, rstd_ptr, scale_ptr, dbias_ptr, dweight_ptr, bn_ptr, n, c,
    block_n: tl.constexpr, block_c: tl.constexpr,
):  # fmt: skip
    """Sums over samples: the gradients of bias and weight, BN's averages of those to M and V."""
    channel = tl.program_id(0) * block_c + tl.arange(0, block_c)[None, :]
    sample = tl.arange(0, block_n)[:, None]
    inside = (sample < n) & (channel < c)
    total, dot, to_mean, to_var = _gradients(
        total_ptr, dot_ptr, rstd_ptr, scale_ptr, sample * c + channel, inside
    )
    known = channel < c
    tl.store(dbias_ptr + channel, tl.sum(total, 0, keep_dims=True), mask=known)
    tl.store(dweight_ptr + channel, tl.sum(dot, 0, keep_dims=True), mask=known)
    tl.store(bn_ptr + channel, tl.sum(to_mean, 0, keep_dims=True) / n, mask=known)
    tl.store(bn_ptr + c + channel, tl.sum(to_var, 0, keep_dims=True) / n, mask=known)


@triton.jit
def mix_grad_kernel(
    mean_ptr, var_ptr, total_ptr, dot_ptr, rstd_ptr, scale_ptr, shift_ptr,
    bn_mean_ptr, bn_var_ptr, bn_ptr, z_ptr, p_ptr, stretch_ptr, bend_ptr,
    slope_ptr, offset_ptr, dlogits_ptr, dbias_ptr, dweight_ptr, n, groups, size, area,
    constrained: tl.constexpr, whole: tl.constexpr, kinds: tl.constexpr,
    k: tl.constexpr, block_k: tl.constexpr,
    block_n: tl.constexpr, block_g: tl.constexpr, block_j: tl.constexpr,
):  # fmt: skip
    at, inside, channel, known = _cells(n, groups, size, block_n, block_g, block_j)
    mean = tl.load(mean_ptr + at, mask=inside, other=0.0)
    var = tl.load(var_ptr + at, mask=inside, other=0.0)
    shift = tl.load(shift_ptr + at, mask=inside, other=0.0)
    total, dot, to_mean, to_var = _gradients(total_ptr, dot_ptr, rstd_ptr, scale_ptr, at, inside)
    if whole:
        tl.store(dbias_ptr + channel, tl.sum(total, 0, keep_dims=True), mask=known)
        tl.store(dweight_ptr + channel, tl.sum(dot, 0, keep_dims=True), mask=known)
    origin = tl.zeros_like(shift)
    if constrained:  # which ignores what a row's gradients share: left out, it cannot cancel
        origin = shift
    row, column = tl.arange(0, 2)[:, None], tl.arange(0, block_k)[None, :]
    dp = tl.zeros((2, block_k), mean.dtype)
    dmean, dvar = tl.zeros_like(mean), tl.zeros_like(mean)
    for i in tl.static_range(k):
        m, v = _merged(
            mean, var, bn_mean_ptr, bn_var_ptr, inside, channel, known, n, groups, size,
            (kinds >> 2 * i) & 3, False,
        )  # fmt: skip
        dp += tl.where((column == i) & (row == 0), tl.sum(to_mean * (m - origin)), 0.0)
        dp += tl.where((column == i) & (row == 1), tl.sum(to_var * v), 0.0)
        if ((kinds >> 2 * i) & 3 == _BN) & (bn_ptr is None):  # running statistics
            g_mean, g_var = tl.zeros_like(mean), tl.zeros_like(mean)
        elif ((kinds >> 2 * i) & 3 == _BN) & (not whole):
            g_mean = tl.load(bn_ptr + channel, mask=known, other=0.0)
            g_var = tl.load(bn_ptr + groups * size + channel, mask=known, other=0.0)
        else:
            g_mean = _average(to_mean, n, groups, size, (kinds >> 2 * i) & 3)
            g_var = _average(to_var, n, groups, size, (kinds >> 2 * i) & 3)
        g_var *= tl.load(p_ptr + k + i)
        dmean += tl.load(p_ptr + i) * g_mean + 2.0 * (mean - m) * g_var
        dvar += g_var
    slope = 2.0 * dvar / area
    tl.store(slope_ptr + at, slope, mask=inside)
    tl.store(offset_ptr + at, dmean / area, mask=inside)
    _store_dlogits(
        dp, z_ptr, p_ptr, stretch_ptr, bend_ptr, dlogits_ptr + tl.program_id(0) * 2 * k, row, 2,
        whole & constrained, k, block_k,
    )  # fmt: skip
