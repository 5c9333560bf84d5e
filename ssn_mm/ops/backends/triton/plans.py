"""Plans how many programs a map, and the numbers (N, C) between its passes, are split over.

Where rows are too few to fill a GPU, pixels are split over programs and their parts merged. One
program mixes up to _WHOLE cells of (N, C). Above that, samples are split: one launch before reduces
what BN needs of all samples, one after what the ratios need. A sample with more channels than
_WIDEST is left to PyTorch's operators.
"""

import math
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ...norm import Norm
from ...normalizers import no_case

_CELLS = 4096  # numbers of a tile of the map, 16 for each of 256 threads
_PROGRAMS = 4  # programs for each multiprocessor, so that one hides the latency of another's loads
_WHOLE = 4096  # cells of float32 that one program mixes, half of them with GN; more would spill
_WIDEST = 4096  # cells of float32 that one sample may have
_SPLIT = 1024  # cells of a program where samples are split
_PARTS = 1024  # parts that one program merges; with more there are several, and another launch

KINDS = {'IN': 0, 'LN': 1, 'BN': 2, 'GN': 3, 'FBN': 4}  # what the kernels tell normalizers apart by
_KIND_BITS = max(KINDS.values()).bit_length()  # of `kinds`, for each normalizer


def plan_map(x: Tensor, reduces: bool) -> tuple[int, tuple[int, ...], dict[str, Any]]:
    """Plans a pass over a map.

    Args:
        x: The map, contiguous or channels last.
        reduces: Whether the pass reduces the map, rather than writing another one.

    Returns:
        The number of programs; rows, area, splits and steps; the kernel's constants.
    """
    n, c = x.shape[:2]
    area = x.numel() // (n * c)
    last = not x.is_contiguous()
    if last and not x.movedim(1, -1).is_contiguous():
        raise ValueError(f'a map must be contiguous or channels last, got strides {x.stride()}')
    outer, rows, fast = (n, c, c) if last else (1, n * c, area)
    most, least = max(1, _CELLS // 2 // pad(area)), 1
    if last:  # 16 channels of a half type are 32 bytes, the least a GPU reads
        most, least = 64, 16 if reduces else 64
    block_r, wanted = min(pad(rows), most), _PROGRAMS * _processors(x.get_device())
    while block_r > least and outer * cdiv(rows, block_r) < wanted:
        block_r //= 2
    block_s = min(pad(area), _CELLS // (block_r if last else 1))
    blocks, tiles = outer * cdiv(rows, block_r), cdiv(area, block_s)
    steps = tiles
    if not reduces:  # in channels last, further steps of large maps need not load the factors
        steps = 4 if last and blocks * tiles >= 8 * wanted else 1
    elif 2 * blocks <= wanted:
        steps = max(min(2, tiles), cdiv(tiles, cdiv(wanted, blocks)))
    splits = cdiv(tiles, steps)
    constants = dict(align=math.gcd(fast, 16), last=last, block_r=block_r, block_s=block_s)
    warps = _warps(block_r * block_s, 16, 8)
    return blocks * splits, (rows, area, splits, steps), dict(constants, num_warps=warps)


@cache
def _processors(device: int) -> int:
    """Number of a GPU's multiprocessors; 1 for another device."""
    return 1 if device < 0 else torch.cuda.get_device_properties(device).multi_processor_count


def is_too_wide(mean: Tensor, norm: Norm) -> bool:
    """Whether a sample has too many channels for one program."""
    _, _, block_g, block_j = _row(mean, norm)
    return block_g * block_j * mean.itemsize > 4 * _WIDEST


def _row(mean: Tensor, norm: Norm) -> tuple[int, int, int, int]:
    """Number of GN's groups, 1 without GN, and channels of each; then both as powers of 2."""
    groups = norm.num_groups if 'GN' in norm.normalizers else 1
    size = mean.size(1) // groups
    return groups, size, pad(groups), pad(size)


def plan_cells(mean: Tensor, norm: Norm) -> tuple[int, tuple[int, ...], dict[str, Any]]:
    """Plans mixing.

    Args:
        mean: The instance means, (N, C).
        norm: The description of the normalization.

    Returns:
        The number of programs; samples, groups and channels of a group; the kernel's constants.
    """
    n = len(mean)
    groups, size, block_g, block_j = _row(mean, norm)
    row = block_g * block_j
    whole = pad(n) * row * mean.itemsize <= 4 * (_WHOLE if groups == 1 else _WHOLE // 2)
    block_n = pad(n) if whole else max(1, _SPLIT // row)
    constants = dict(
        kinds=_kinds(norm.normalizers),
        bits=_KIND_BITS,
        k=len(norm.normalizers),
        block_k=max(2, pad(len(norm.normalizers))),
        block_n=block_n,
        block_g=block_g,
        block_j=block_j,
        num_warps=_warps(block_n * row, 8, 16),
    )
    return cdiv(n, block_n), (n, groups, size), constants


@cache
def _kinds(normalizers: tuple[str, ...]) -> int:
    """The normalizers as a constant of the kernels, _KIND_BITS for each of them in order."""
    if unknown := [name for name in normalizers if name not in KINDS]:
        raise no_case(unknown[0], 'triton.plans.KINDS')
    return sum(KINDS[name] << _KIND_BITS * i for i, name in enumerate(normalizers))


def plan_columns(rows: int) -> tuple[dict[str, int], int, int]:
    """Plans sums over rows: the blocks of a program, the groups of rows, and rows of a group."""
    groups = cdiv(rows, _PARTS)
    block_n = min(pad(rows), 256)
    block_c = max(1, min(16, 4096 // block_n))
    blocks = dict(block_n=block_n, block_c=block_c, num_warps=_warps(block_n * block_c, 8, 16))
    return blocks, groups, _PARTS if groups > 1 else rows


def plan_parts(k: int, parts: int) -> dict[str, int]:
    """The blocks of the program that sums parts of the gradients for the ratios, (2, K)."""
    return dict(k=k, block_k=max(2, pad(k)), block_p=min(pad(parts), 256), block_r=2, num_warps=4)


def cdiv(a: int, b: int) -> int:  # triton's takes microseconds, as does its next_power_of_2
    return -(-a // b)


def pad(count: int) -> int:
    """The next power of 2."""
    return 1 << (count - 1).bit_length()


def _warps(cells: int, per_thread: int, most: int) -> int:
    return min(most, max(1, cells // (32 * per_thread)))
