"""A layer's whole call, by an operator that makes its own node of the autograd graph."""

from collections.abc import Callable

import torch
from torch import Tensor

from ...norm import Logits, Norm, PerChannel
from ...running_stats import Update, update_running


def switch_norm(
    x: Tensor,
    logits: Logits,
    norm: Norm,
    channels: PerChannel,
    update: Update | None,
) -> tuple[Tensor, Tensor]:
    """Normalizes as ``reference.switch_norm`` does, without ``norm.sync``, by a node in C++."""
    return layer_call(logits, norm, channels, update, None)(x)


def layer_call(
    logits: Logits,
    norm: Norm,
    channels: PerChannel,
    update: Update | None,
    batches: Tensor | None,
) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """What ``switch_norm`` does with a map, for many of them.

    Args:
        logits: What the ratios are made of.
        norm: The description.
        channels: γ and β; and the running statistics that FBN reads.
        update: Running statistics to update with each batch; None for none.
        batches: A number that counts them; None for none.
    """
    layer = torch.ops.ssn_mm_cpp.layer.default
    values, radius = logits
    weight, bias, running_mean, running_var = channels
    source, names, eps, groups = norm.source, norm.names, norm.eps, norm.num_groups
    mean, var, momentum = None, None, 0.0
    if update is not None and isinstance(update.momentum, float) and update.fixed is None:
        mean, var, momentum = update.running_mean, update.running_var, update.momentum

    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        y, ratios, batch = layer(
            x, values, weight, bias, radius, running_mean, running_var,
            source, names, eps, groups, mean, var, momentum, batches,
        )  # fmt: skip
        if batch is not None and update is not None:  # the kernel has left it to us
            update_running(update, ratios, batch[0], batch[1], x.numel() // x.size(1))
        return y, ratios

    return run
