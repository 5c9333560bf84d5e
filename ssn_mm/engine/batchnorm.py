"""What OpenMMLab does for ``_BatchNorm`` alone, done for SSN and SN.

They are no subclass of it: ``convert_sync_batchnorm`` would replace them and drop the ratios,
``fuse_conv_bn`` would fold them as if they were batch norm. So everything else that asks for the
type passes them by too. Here is what makes up for that: :func:`apply` for what models do by
themselves, :func:`settle` for what a run asks for. docs/openmmlab.md has the whole table.
"""

import logging
import sys
from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from itertools import chain
from typing import Any

from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmengine.optim.optimizer import optimizer_wrapper
from mmengine.runner import Runner
from mmengine.utils.dl_utils.misc import is_norm
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..importing import after_import
from ..layers import MixedNorm, SwitchNorm
from .networks import REPAIRS, SELF_RELIANT, WithRunningStatistics


def apply() -> None:
    """Makes backbones and mmcv's fold know SSN and SN; `import ssn_mm` calls it."""
    BaseModule.train = _train  # type: ignore[method-assign]
    vars(optimizer_wrapper)['has_batch_norm'] = _has_batch_norm
    after_import(REPAIRS)
    if find_spec('mmcv'):
        own = import_module('mmcv.cnn.utils.fuse_conv_bn')
        for module in (own, sys.modules['mmcv.cnn.utils'], sys.modules['mmcv.cnn']):
            vars(module)['fuse_conv_bn'] = _fuse_conv_bn


def _has_batch_norm(model: nn.Module) -> bool:
    """What an optimizer wrapper asks before it accumulates gradients, and warns of."""
    return any(isinstance(module, WithRunningStatistics) for module in model.modules())


def settle(runner: Runner, model: nn.Module) -> None:
    """Extends to SSN and SN what a run asks of its batch norms; ``RatiosHook`` calls it.

    ``sync_bn`` synchronises BN's part, ``PreciseBNHook`` measures it. An optimizer without the
    rules for ratio logits, and for norms, is warned of.

    Raises:
        ValueError: ``norm_eval=True`` on a network whose own ``train`` alone knows of it.
    """
    layers = _switch_norms(model)
    if not layers:
        return
    _check_norm_eval(model)
    strategy = getattr(runner, 'strategy', None)  # of a FlexibleRunner
    sync_bn = runner.cfg.get('sync_bn') or getattr(strategy, 'sync_bn', None)
    if sync_bn:
        print_log(f'sync_bn={sync_bn!r}: {len(layers)} SSN or SN layers have sync=True', 'current')
        for layer in layers:
            layer.sync = True
    for kind in chain.from_iterable(type(hook).__mro__ for hook in runner.hooks):
        if kind.__name__ == 'PreciseBNHook':  # its module asks for this name, once a recomputation
            vars(sys.modules[kind.__module__])['_BatchNorm'] = WithRunningStatistics
    _check_optimizer(runner.optim_wrapper, layers)


def _switch_norms(model: nn.Module) -> list[SwitchNorm]:
    return [m for m in model.modules() if isinstance(m, SwitchNorm)]


def _train(self: BaseModule, mode: bool = True) -> BaseModule:
    """``nn.Module.train``, which backbones call first; what they add is for batch norm alone.

    ``norm_eval`` stops the running statistics, and BN's part uses them; ``bn_frozen`` (CSN) stops
    γ and β beside it. ``partial_bn`` (TSN's backbone) stops all of these from the second layer on.
    Ratios learn on.
    """
    super(BaseModule, self).train(mode)
    if mode and getattr(self, 'norm_eval', False):
        _stop(_switch_norms(self), affine=getattr(self, 'bn_frozen', False))
    if mode and getattr(self, 'partial_bn', False):
        _stop(_switch_norms(self)[1:], affine=True)
    return self


def _stop(layers: Iterable[SwitchNorm], affine: bool) -> None:
    for layer in layers:
        layer.eval()
        for param in (layer.weight, layer.bias) if affine else ():
            if param is not None:
                param.requires_grad = False


def _check_norm_eval(model: nn.Module) -> None:
    for name, module in model.named_modules():
        known = isinstance(module, BaseModule) or type(module).__module__ in SELF_RELIANT
        if getattr(module, 'norm_eval', False) and not known and _switch_norms(module):
            raise ValueError(
                f'{type(module).__name__} ({name}) has norm_eval=True, which stops the running '
                'statistics of nn.BatchNorm and not those of its SSN or SN layers, because it is '
                'no mmengine BaseModule; set norm_eval=False'
            )


def _fuse_conv_bn(module: nn.Module) -> nn.Module:
    """mmcv's ``fuse_conv_bn``, which forgets a convolution at a norm that is not batch norm.

    mmcv's own goes on to the next batch norm, and folds that one across the norm in between.
    """
    fold = vars(sys.modules['mmcv.cnn.utils.fuse_conv_bn'])['_fuse_conv_bn']
    conv = None  # name of the one that the next batch norm would follow
    for name, child in module.named_children():
        if isinstance(child, _BatchNorm):
            if conv is not None:
                module._modules[conv] = fold(module._modules[conv], child)
                module._modules[name] = nn.Identity()
                conv = None
        elif isinstance(child, nn.Conv2d):
            conv = name
        elif isinstance(child, SwitchNorm | MixedNorm) or is_norm(child):
            conv = None
        else:
            _fuse_conv_bn(child)
    return module


def _check_optimizer(optim_wrapper: Any, layers: Iterable[SwitchNorm]) -> None:
    groups = optim_wrapper.param_groups
    if isinstance(groups, dict):  # of several optimizers
        groups = chain.from_iterable(groups.values())
    logits = {id(layer.ratio_logits) for layer in layers}
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
