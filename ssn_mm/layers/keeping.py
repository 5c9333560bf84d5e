"""Radii and selected rows of all layers of a network on a CPU, in one call of a kernel each.

After a step all that belongs to a layer has left the caches, so that each look at it counts: with
PyTorch's operators, these take longer than a layer's forward pass on a small map.
"""

from collections.abc import Iterable, Sequence

from torch import Tensor, nn

from ..ops.dispatch import kernels_for_all
from .switch_norm import SSN


def fill_all(tensors: Sequence[Tensor], value: float) -> None:
    """Sets every element of the tensors to ``value``."""
    is_plain = all(type(t) is Tensor for t in tensors)
    kernels = kernels_for_all(tensors[0]) if tensors and is_plain else None
    if kernels is not None and kernels.fill is not None:
        kernels.fill(tensors, value)
        return
    for t in tensors:
        t.fill_(value)


def keep_after_step(layers: Iterable[SSN]) -> list[SSN]:
    """Puts selected rows on their vertex where layers ran, with plain parameters on the CPU.

    Args:
        layers: Any.

    Returns:
        The layers that nothing was done with: they did not run, or no kernel is for them.
    """
    left, ran = [], []
    for layer in layers:
        logits, run = layer._parameters.get('ratio_logits'), layer.selection.ran
        radius = layer._buffers.get('radius')
        plain = type(logits) is nn.Parameter and type(radius) is Tensor
        if plain and run is not None and run[0] is logits:
            ran.append((layer, logits, radius, run[2]))
        else:
            left.append(layer)
    kernels = kernels_for_all(ran[0][1]) if ran else None
    if kernels is None or kernels.keep_selected is None:
        return left + [layer for layer, *_ in ran]
    known, own, radii, ratios = zip(*ran, strict=True)
    columns = kernels.keep_selected(own, radii, ratios)
    if not columns:
        return left + list(known)
    rows = zip(columns[::2], columns[1::2], strict=True)
    for layer, z, places in zip(known, own, rows, strict=True):
        layer.selection.note_step(z, places, layer.normalizers)
    return left
