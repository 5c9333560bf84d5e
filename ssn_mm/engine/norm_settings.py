"""A training's settings for its batch norms, such as ``sync_bn``, applied to SSN and SN.

SSN and SN are no subclass of ``_BatchNorm``: ``convert_sync_batchnorm`` would replace them and drop
the ratios, ``fuse_conv_bn`` would fold them as if they were batch norm. So all else that asks for
the type passes them by. :mod:`ssn_mm.patches` makes up for what networks do by themselves, this
module for what a training sets; docs/openmmlab.md has the whole table.
"""

import logging
from collections.abc import Iterable
from itertools import chain
from typing import Any

from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmengine.runner import Runner
from torch import nn

from ..layers import SSN, SwitchNorm, switch_norms
from ..patches.mmaction import SELF_RELIANT


def extend_to_switch_norms(runner: Runner, model: nn.Module) -> None:
    """Applies a training's settings for batch norms to SSN and SN; ``RatiosHook`` calls it.

    ``sync_bn`` synchronises their BN. A warning tells of an optimizer without the rules for SSN's
    ratio logits and for norms.

    Raises:
        ValueError: ``norm_eval=True`` on a network whose own ``train`` alone knows of it.
    """
    layers = [layer for _, layer in switch_norms(model)]
    if not layers:
        return
    _check_norm_eval(model)
    strategy = getattr(runner, 'strategy', None)  # a FlexibleRunner has one
    sync_bn = runner.cfg.get('sync_bn') or getattr(strategy, 'sync_bn', None)
    if sync_bn:
        print_log(f'sync_bn={sync_bn!r}: {len(layers)} SSN or SN layers have sync=True', 'current')
        for layer in layers:
            layer.sync = True
    _check_optimizer(runner.optim_wrapper, layers)


def _check_norm_eval(model: nn.Module) -> None:
    for name, module in model.named_modules():
        known = isinstance(module, BaseModule) or type(module).__module__ in SELF_RELIANT
        if getattr(module, 'norm_eval', False) and not known and any(switch_norms(module)):
            raise ValueError(
                f'{type(module).__name__} ({name}) has norm_eval=True, which stops the running '
                'statistics of nn.BatchNorm and not those of its SSN or SN layers, because it is '
                'no mmengine BaseModule; set norm_eval=False'
            )


def _check_optimizer(optim_wrapper: Any, layers: Iterable[SwitchNorm]) -> None:
    if getattr(optim_wrapper, 'has_ratio_rules', False):
        return
    groups = optim_wrapper.param_groups
    if isinstance(groups, dict):  # there are several optimizers
        groups = chain.from_iterable(groups.values())
    # those of SN and of other selectors are to learn as other parameters do
    logits = {id(layer.ratio_logits) for layer in layers if isinstance(layer, SSN)}
    for group in groups:
        params = {id(param) for param in group['params']}
        if params & logits and (params - logits or group.get('weight_decay')):
            print_log(
                'Ratio logits are optimized like other parameters, with weight decay '
                f'{group.get("weight_decay", 0)}, and norm_decay_mult does not reach SSN: set '
                "optim_wrapper=dict(constructor='SSNOptimWrapperConstructor')",
                'current',
                logging.WARNING,
            )
            return
