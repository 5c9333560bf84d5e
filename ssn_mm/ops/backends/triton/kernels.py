"""Kernels for GPUs that stream the map, and the one that merges their parts.

A map is (outer, rows, area): contiguous (1, N·C, S), or channels last (N, C, S) with the rows side
by side. A program owns a tile of rows by pixels, with an accumulator per cell that it reduces once
at its end. There are no atomics, so that runs agree bitwise. Indices are 64 bits wide, since a map,
or one plane of it, may have 2^31 elements. Blocks do not grow with N: what spans samples is a loop.
"""

import triton
import triton.language as tl


@triton.jit
def _own(rows, splits, steps, last: tl.constexpr, block_r: tl.constexpr, block_s: tl.constexpr):
    """This program's outer index, rows (R, 1), split and first pixels (1, S)."""
    pid = tl.program_id(0).to(tl.int64)
    blocks = (rows - 1) // block_r + 1
    block, split = pid // splits % blocks, pid % splits
    if last:  # neighbours in memory run together
        block, split = pid % blocks, pid // blocks % splits
    row = block * block_r + tl.arange(0, block_r)[:, None]
    pixel = split * steps * block_s + tl.arange(0, block_s)[None, :]
    return pid // (blocks * splits), row, split, pixel


@triton.jit
def _locate(outer, row, pixel, rows, area, align: tl.constexpr, last: tl.constexpr):
    """Offsets of a tile, and which of it exist."""
    if last:  # the factor align lets the compiler load vectors
        rows = rows // align * align
        offset = (outer * area + pixel) * rows + row
    else:
        area = area // align * align
        offset = row * area + pixel
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
    here = pixel
    for step in range(steps):
        offset, inside = _locate(outer, row, here, rows, area, align, last)
        here += block_s
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
    a_ptr, b_ptr, count_ptr, a_out_ptr, b_out_ptr, total_ptr,
    maps, stride, parts, most, chunk, area, own,
    moments: tl.constexpr, block_n: tl.constexpr, block_c: tl.constexpr,
):  # fmt: skip
    """Sums of up to ``most`` parts; or moments, from those of parts, by Chan's formula.

    A part has ``chunk`` elements, the last one what is left of ``area``; or as many as count_ptr
    says. The kernel also stores how many there are, or the fraction of them that ``own`` is.
    """
    pid, blocks = tl.program_id(0).to(tl.int64), (maps - 1) // block_c + 1
    at = pid % blocks * block_c + tl.arange(0, block_c)[None, :]
    first = pid // blocks * most
    wide = a_ptr.dtype.element_ty
    a, b = tl.zeros((block_n, block_c), wide), tl.zeros((block_n, block_c), wide)
    size = tl.zeros((block_n, 1), wide)
    for start in range(0, tl.minimum(parts - first, most), block_n):
        part = first + start + tl.arange(0, block_n)[:, None]
        listed = (part < parts) & (part - first < most)
        inside = listed & (at < maps)
        more = tl.load(a_ptr + part * stride + at, mask=inside, other=0.0)
        more_b = tl.load(b_ptr + part * stride + at, mask=inside, other=0.0)
        if moments:
            if count_ptr is None:
                count = tl.maximum(tl.minimum(area - part * chunk, chunk), 0).to(wide)
                count = tl.where(listed, count, 0.0)
            else:
                count = tl.load(count_ptr + part * stride, mask=listed, other=0.0)
            size += count
            share, delta = count / tl.maximum(size, 1.0), more - a
            a += delta * share
            b += more_b * count + delta * delta * share * (size - count)
        else:
            a += more
            b += more_b
    if moments:
        total = tl.sum(size)
        middle = tl.sum(a * size, 0, keep_dims=True) / total
        b = tl.sum(b + (a - middle) * (a - middle) * size, 0, keep_dims=True) / total
        a = middle
        if total_ptr is not None:
            tl.store(total_ptr, tl.where(own > 0, own / total, total), mask=pid == 0)
    else:
        a, b = tl.sum(a, 0, keep_dims=True), tl.sum(b, 0, keep_dims=True)
    out = pid // blocks * maps + at
    tl.store(a_out_ptr + out, a, mask=at < maps)
    tl.store(b_out_ptr + out, b, mask=at < maps)


@triton.jit
def affine_kernel(
    dy_ptr, x_ptr, shift_ptr, scale_ptr, slope_ptr, offset_ptr, out_ptr,
    period, rows, area, splits, steps,
    align: tl.constexpr, last: tl.constexpr, block_r: tl.constexpr, block_s: tl.constexpr,
):  # fmt: skip
    """scale·dy + slope·(x - shift) + offset, without dy and offset where these are not given."""
    outer, row, _, pixel = _own(rows, splits, steps, last, block_r, block_s)
    at = outer * rows + row
    shift = tl.load(shift_ptr + at, mask=row < rows, other=0.0)
    slope = tl.load(slope_ptr + at, mask=row < rows, other=0.0)
    scale, constant = tl.zeros_like(shift), tl.zeros_like(shift)
    if dy_ptr is not None:
        scale = tl.load(scale_ptr + at, mask=row < rows, other=0.0)
    if offset_ptr is not None:
        constant = tl.load(offset_ptr + at % period, mask=row < rows, other=0.0)
    for _ in range(steps):
        offset, inside = _locate(outer, row, pixel, rows, area, align, last)
        pixel += block_s
        x = tl.load(x_ptr + offset, mask=inside, other=0.0).to(shift.dtype)
        out = slope * (x - shift) + constant
        if dy_ptr is not None:
            out += scale * tl.load(dy_ptr + offset, mask=inside, other=0.0).to(shift.dtype)
        tl.store(out_ptr + offset, out, mask=inside)
