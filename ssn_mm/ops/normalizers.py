"""The names of the normalizers, and which of them fit the shape of an input."""

import math
from collections.abc import Sequence
from itertools import permutations

import torch
import torch.distributed as dist
from torch import Tensor

# Files hold places in it, so a new name is appended. Whatever tells normalizers apart raises on a
# name that it has no case for; CONTRIBUTING.md lists these places.
NORMALIZERS = ('IN', 'LN', 'BN', 'GN', 'FBN')
_COUNTS = range(1, len(NORMALIZERS) + 1)
_SETS = frozenset(names for k in _COUNTS for names in permutations(NORMALIZERS, k))


def no_case(name: str, where: str) -> NotImplementedError:
    """The error of a place that tells normalizers apart and has no case for this one."""
    return NotImplementedError(
        f'{where} has no case for the normalizer {name!r}; add it there, and wherever else '
        'CONTRIBUTING.md says that a new normalizer needs one'
    )


def check_normalizers(normalizers: Sequence[str], at_least: int = 2) -> None:
    """Raises ValueError unless ``normalizers`` are at least so many different known names."""
    names = tuple(normalizers)
    if names in _SETS and len(names) >= at_least:
        return
    if isinstance(normalizers, str) or len(names) < at_least:
        raise ValueError(
            f'at least {at_least} of the normalizers {NORMALIZERS} expected, got {normalizers!r}'
        )
    if unknown := [name for name in names if name not in NORMALIZERS]:
        raise ValueError(f'unknown normalizers {unknown}; choose from {NORMALIZERS}')
    if len(set(names)) < len(names):
        raise ValueError(f'a normalizer may occur once only, got {names}')


def check_groups(num_channels: int, num_groups: int) -> None:
    """Raises ValueError unless GN's groups divide the channels."""
    if num_groups < 1 or num_channels % num_groups:
        raise ValueError(
            f'GN needs groups that divide the channels, got num_groups={num_groups} for '
            f'{num_channels} channels; set num_groups, or leave GN out for this layer'
        )


def has_area(x: Tensor) -> bool:
    """Whether each (n, c) of ``x`` has more than one element: then every normalizer competes."""
    return x.numel() > x.size(0) * x.size(1)


def competing(
    normalizers: Sequence[str],
    shape: Sequence[int],
    batch_stats: bool,
    num_groups: int = 32,
    sync: bool = False,
) -> tuple[bool, ...]:
    """Tells which normalizers have more than one element per statistic for an input shape.

    Args:
        normalizers: Names, as for :func:`switch_norm`.
        shape: (N, C, *spatial).
        batch_stats: Whether BN measures the batch; running statistics, as FBN's, always count.
        num_groups: GN's number of groups.
        sync: Whether BN measures the batches of all processes. Then it competes whatever the
            shape on this one, an empty batch included: the others wait for it.

    Returns:
        One bool per normalizer.

    Raises:
        ValueError: None has more than one.
    """
    fit = fitting(normalizers, shape, batch_stats, num_groups, sync)
    if not any(fit):
        raise ValueError(
            f'expected more than 1 value per statistic for one of {tuple(normalizers)}, '
            f'got input size {tuple(shape)}; use a larger batch or map, or add LN'
        )
    return fit


def fitting(
    normalizers: Sequence[str],
    shape: Sequence[int],
    batch_stats: bool,
    num_groups: int = 32,
    sync: bool = False,
) -> tuple[bool, ...]:
    """Tells the same as :func:`competing`, and does not raise where none has more than one."""
    n, c, *spatial = shape
    area = math.prod(spatial)
    if n and area > 1:
        return (True,) * len(normalizers)
    joint = sync and world_size() > 1
    elements = {
        'IN': area,
        'LN': c * area,
        'BN': math.inf if joint or not batch_stats else n * area,
        'GN': c // num_groups * area,
        'FBN': math.inf,
    }
    if unknown := [name for name in normalizers if name not in elements]:
        raise no_case(unknown[0], 'ops.normalizers.fitting')
    return tuple(elements[name] > 1 for name in normalizers)


def without_elements(x: Tensor, *parameters: Tensor) -> Tensor:
    """Passes on a map without elements, as ``nn.BatchNorm2d`` does; gradients are 0."""
    return x + sum((p.sum() * 0 for p in parameters), x.new_zeros(()))


def hand_over(
    ratios: Tensor, normalizers: Sequence[str], fit: tuple[bool, ...]
) -> tuple[Tensor, tuple[str, ...]]:
    """Leaves out normalizers that do not fit; their ratios go to the others in equal parts.

    Args:
        ratios: (2, K).
        normalizers: The K names.
        fit: Whether each of them fits; at least one does.

    Returns:
        Ratios and names of those that fit.
    """
    stay = tuple(name for name, fits in zip(normalizers, fit, strict=True) if fits)
    columns = ratios.unbind(1)  # a list as an index would be copied to a GPU, which waits for it
    kept = torch.stack([column for column, fits in zip(columns, fit, strict=True) if fits], 1)
    gone = [column for column, fits in zip(columns, fit, strict=True) if not fits]
    return kept + torch.stack(gone, 1).sum(1, keepdim=True) / len(stay), stay


def world_size() -> int:
    """Number of processes of the default group; 1 without a group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
