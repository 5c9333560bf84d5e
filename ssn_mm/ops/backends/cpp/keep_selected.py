"""Radii and selected rows of all layers of a network, each in one call of a compiled kernel."""

from collections.abc import Sequence

import torch
from torch import Tensor


def keep_selected(
    logits: Sequence[Tensor], radii: Sequence[Tensor], ratios: Sequence[Tensor]
) -> list[int]:
    """Puts selected rows of L layers on their vertex, as ``layers.keep_selected`` does.

    Args:
        logits: The layers' logits, (2, K) each; written to where a selected row is not at its
            vertex.
        radii: Their radii.
        ratios: The ratios (2, K) that their last step was taken with.

    Returns:
        2·L columns: where the rows of each layer, the mean's and the variance's, have their 1; -1
        where a row competes. An empty list, and nothing is written, where one of the tensors is no
        contiguous one of float32 or float64 on the CPU, has not its shape, or a radius is none.
    """
    return torch.ops.ssn_mm_cpp.keep_selected.default(logits, radii, ratios)


def fill(tensors: Sequence[Tensor], value: float) -> None:
    """Sets every element of the tensors to a value, in one call."""
    torch.ops.ssn_mm_cpp.fill.default(tensors, value)
