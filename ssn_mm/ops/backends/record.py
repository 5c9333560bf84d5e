"""The record in which a backend of kernels declares itself."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from . import mix as plain

FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


@dataclass(frozen=True, kw_only=True)
class Backend:
    """Kernels that serve the operator ``switch_norm``, and what they can do.

    Attributes:
        devices: Types of device whose maps the kernels take, such as 'cuda'.
        dtypes: Types of maps that the kernels take.
        why_not: ``(device, dtype)`` → what keeps the kernels from such maps, which they declare to
            take, on this machine; '' if nothing does. It may build, try and raise.
        is_faster_in_torch: ``(name, x)`` → whether torch's own layer is faster for a map where the
            normalizer of this name alone is computed.
        moments: ``(x)`` → mean and biased variance, (N, C), of a map (N, C, *spatial) that is
            contiguous or channels last, as are all maps.
        affine: ``(x, shift, scale, bias)`` → scale * (x - shift) + bias with (N, C) shift and
            scale, (C,) bias or None; a new map like ``x``.
        sums: ``(dy, x, shift)`` → Σdy and Σdy·(x - shift) over each instance, (N, C); ``dy`` is
            laid out as ``x``.
        affine_grad: ``(dy, x, shift, scale, slope, offset)`` → scale * dy + slope * (x - shift) +
            offset, factors (N, C); a new map like ``x``.
        mix: The same function as ``mix.mix``.
        mix_backward: The same function as ``mix.mix_backward``.
        joint_moments: The same function as ``mix.joint_moments``.
        forward: The whole forward pass in one call where BN does not span processes, see
            ``fused``. None: it is put together from the functions above.
        backward: The whole backward pass in one call where BN does not span processes. None: it is
            put together from the functions above.
        switch_norm: The same function as ``reference.switch_norm``, with a node of its own in the
            graph; None without one.
        layer_call: ``(logits, norm, channels, update, batches)`` → ``(x)`` → what ``switch_norm``
            returns, for a layer in training, whose batches the 0-d ``batches`` counts; None without
            one.
        sparsestmax: ``(z, radius)`` → ratios, with a node of its own in the graph, for logits
            (..., K) and a radius of one number or (..., 1); None without one.
        mixed_norm: What ``MixedNorm`` computes for inference in one call, see ``cpp.mixed_norm``;
            None where PyTorch's operators serve.
        keep_selected: What ``layers.keep_selected`` does with all layers in one call, see
            ``cpp.keep_selected``; None without one.
        fill: ``(tensors, value)`` → None; sets all elements to ``value`` in one call; None without
            one.
    """

    devices: tuple[str, ...]
    dtypes: tuple[torch.dtype, ...]
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
    layer_call: Callable[..., Any] | None = None
    sparsestmax: Callable[..., Any] | None = None
    mixed_norm: Callable[..., Any] | None = None
    keep_selected: Callable[..., Any] | None = None
    fill: Callable[..., Any] | None = None

    def why_not_for(self, device: torch.device, dtype: torch.dtype) -> str:
        """What keeps the kernels from such maps: what they declare, else :attr:`why_not`."""
        if device.type not in self.devices:
            return f'it takes maps on {" or ".join(self.devices)}'
        if dtype not in self.dtypes:
            return f'it takes maps of {", ".join(map(str, self.dtypes))}, not {dtype}'
        return self.why_not(device, dtype)
