"""What a backend of kernels declares."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from . import mix as plain


@dataclass(frozen=True, kw_only=True)
class Backend:
    """Kernels that serve the operator ``switch_norm``, with what they can do.

    Attributes:
        devices: Types of device whose tensors they take.
        why_not: What keeps them from a device and a type of map on this machine, with advice, ''
            if nothing does; it may try, build and raise.
        is_faster_in_torch: Whether torch's own layer beats them for a map where the normalizer of
            this name alone is computed.
        moments: ``(x)`` → mean and biased variance, (N, C), of a map (N, C, *spatial) that is
            contiguous or channels last, as are all maps.
        affine: ``(x, shift, scale, bias)`` → scale * (x - shift) + bias with (N, C) shift and
            scale, (C,) bias or None; a new map like ``x``.
        sums: ``(dy, x, shift)`` → Σdy and Σdy·(x - shift) over each instance, (N, C); ``dy`` is
            laid out as ``x``.
        affine_grad: ``(dy, x, shift, scale, slope, offset)`` → scale * dy + slope * (x - shift) +
            offset, factors (N, C); a new map like ``x``.
        mix: As ``mix.mix``.
        mix_backward: As ``mix.mix_backward``.
        joint_moments: As ``mix.joint_moments``.
        forward: All of the forward pass in one call, where BN does not span processes; see
            ``fused``. None: it is put together from the above.
        backward: All of the backward pass in one call. None: it is put together from the above.
        switch_norm: A whole call as the reference's, with a node of the graph of its own, or None.
        sparsestmax: ``(z, radius)`` → ratios, with a node of the graph of its own; z (..., K),
            radius one number or (..., 1). None where there is none.
    """

    devices: tuple[str, ...]
    is_faster_in_torch: Callable[[str, torch.Tensor], bool]
    moments: Callable[..., Any]
    affine: Callable[..., Any]
    sums: Callable[..., Any]
    affine_grad: Callable[..., Any]
    why_not: Callable[[torch.device, torch.dtype], str] = lambda device, dtype: ''
    mix: Callable[..., Any] = plain.mix
    mix_backward: Callable[..., Any] = plain.mix_backward
    joint_moments: Callable[..., Any] = plain.joint_moments
    forward: Callable[..., Any] | None = None
    backward: Callable[..., Any] | None = None
    switch_norm: Callable[..., Any] | None = None
    sparsestmax: Callable[..., Any] | None = None
