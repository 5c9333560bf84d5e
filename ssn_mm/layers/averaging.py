"""Recalibrates running statistics for averaged weights."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from .base import SwitchNorm


@torch.no_grad()
def update_bn(loader: Iterable[Any], model: nn.Module, device: Any = None) -> None:
    """Recalibrates running statistics, of SSN and SN as well as of batch norm.

    ``torch.optim.swa_utils.update_bn`` measures layers of batch norm's type alone. It would leave
    SSN and SN with the statistics of other weights. Layers whose BN has a ratio of 0 use no
    statistics and keep those that they have.

    Args:
        loader: Batches: tensors, or lists and tuples that begin with one.
        model: A network with averaged weights, such as ``torch.optim.swa_utils.AveragedModel``.
            Its modules stay in the mode, training or evaluation, that they are in.
        device: Where batches are moved to first; None leaves them where they are.
    """
    layers: list[Any] = [m for m in model.modules() if uses_batch_norm(m)]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    modes = {module: module.training for module in model.modules()}
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the mean of all batches
    try:
        model.train()
        for batch in loader:
            inputs = batch[0] if isinstance(batch, list | tuple) else batch
            model(inputs if device is None else inputs.to(device))
    finally:
        for module, mode in modes.items():
            module.training = mode
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


def uses_batch_norm(module: nn.Module) -> bool:
    """Whether a layer is batch norm, or an SSN or SN in which a ratio of BN is above 0."""
    if not isinstance(module, SwitchNorm | _BatchNorm) or module.running_mean is None:
        return False
    if isinstance(module, _BatchNorm):
        return True
    return bool((module.ratios()[:, module.normalizers.index('BN')] > 0).any())
