"""Recalibrates running statistics for averaged weights."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .base import SwitchNorm


@torch.no_grad()
def update_bn(loader: Iterable[Any], model: nn.Module, device: Any = None) -> None:
    """Recalibrates running statistics, of SSN and SN as well as of batch norm.

    ``torch.optim.swa_utils.update_bn`` measures layers of batch norm's type alone. It would leave
    SSN and SN with the statistics of other weights. Layers whose BN has a ratio of 0 use no
    statistics and keep those that they have.

    FBN's statistics are measured where there are none yet, see
    :meth:`~ssn_mm.SSN.lacks_statistics`: call it before the training. FBN then takes each batch's,
    as BN does. Where there are some they are constants, and stay in each row, the mean's or the
    variance's, in which FBN has a ratio above 0; with ``update_fbn`` they are measured anew.

    Args:
        loader: Batches: tensors, or lists and tuples that begin with one.
        model: A network with averaged weights, such as ``torch.optim.swa_utils.AveragedModel``.
            Its modules stay in the mode, training or evaluation, that they are in.
        device: Where batches are moved to first; None leaves them where they are.
    """
    layers: dict[Any, tuple[bool, bool]] = {m: measured_rows(m) for m in model.modules()}
    layers = {layer: rows for layer, rows in layers.items() if any(rows)}
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    modes = {module: module.training for module in model.modules()}
    for layer, rows in layers.items():
        _reset_rows(layer, rows)
        layer.momentum = None  # the mean of all batches
        if isinstance(layer, SwitchNorm) and all(rows):
            layer.measured_rows = rows
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
            vars(layer).pop('measured_rows', None)


def _reset_rows(layer: Any, rows: tuple[bool, bool]) -> None:
    """Sets the mean and the variance of running statistics to their start, as ``rows`` say."""
    kept = layer.running_mean.clone(), layer.running_var.clone()
    layer.reset_running_stats()
    for own, before, measured in zip(
        (layer.running_mean, layer.running_var), kept, rows, strict=True
    ):
        if not measured:
            own.copy_(before)


def measured_rows(module: nn.Module) -> tuple[bool, bool]:
    """Which running statistics of a layer, mean and variance, recalibration measures.

    Both of batch norm; both of an SSN or SN in which a ratio of BN is above 0, less those that are
    constants of its FBN; and both where FBN lacks statistics, or updates them.
    """
    if not isinstance(module, SwitchNorm | _BatchNorm) or module.running_mean is None:
        return False, False
    if isinstance(module, _BatchNorm) or module.update_fbn or module.lacks_statistics():
        return True, True
    ratios = dict(zip(module.normalizers, module.ratios().unbind(1), strict=True))
    if 'BN' not in ratios or not (ratios['BN'] > 0).any():
        return False, False
    fixed: Tensor = ratios.get('FBN', torch.zeros(2))
    mean, var = (fixed == 0).tolist()
    return mean, var
