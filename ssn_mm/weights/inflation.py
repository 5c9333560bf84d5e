"""Fills mmaction2's backbones with 2D weights, whatever wraps or widens their layers."""

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.runner.checkpoint import _load_checkpoint, _load_checkpoint_with_prefix
from torch import nn

from ..layers import ssn_layers
from .content import state_and_meta
from .loading import load_weights

_WRAPPED = ('net2', 'net', 'block')  # what TSM, TIN and non-local blocks call what they wrap


def read_2d(init_cfg: Mapping[str, Any]) -> Mapping[str, Any]:
    """Reads the weights that an ``init_cfg`` of type 'Pretrained' names."""
    file, prefix = init_cfg['checkpoint'], init_cfg.get('prefix')
    if prefix is not None:
        return _load_checkpoint_with_prefix(prefix, file, map_location='cpu')
    return _load_checkpoint(file, map_location='cpu')


def fill(
    backbone: nn.Module, checkpoint: Mapping[str, Any], logger: Any, keep_radius: bool = False
) -> None:
    """Fills a 2D or 3D backbone with a checkpoint of its 2D network, whatever the norms of both.

    Where another pathway joins, a convolution has inputs that the 2D network lacks; their weights
    start at 0.

    Args:
        backbone: A backbone of mmaction2.
        checkpoint: What was read of a file.
        logger: mmengine's logger, or its name.
        keep_radius: Whether SSN keeps the checkpoint's radius. It belongs to the training that made
            the checkpoint, so that another one starts at 0.

    Raises:
        ValueError: Nothing of the checkpoint fits.
    """
    state, _ = state_and_meta(checkpoint, 'the 2D checkpoint')
    state = {re.sub(rf'\.(?:{"|".join(_WRAPPED)})(?=\.)', '', k): v for k, v in state.items()}
    report = load_weights(_as_resnet(backbone, dict(_widened(backbone))), state)
    report.log(logger)
    for name, own in _widened(backbone):
        if f'{name}.weight' in report.loaded:
            backbone.get_parameter(f'{name}.weight').data[:, own:] = 0
    if not keep_radius:
        for _, layer in ssn_layers(backbone):
            layer.radius.zero_()


def _widened(backbone: nn.Module) -> Iterator[tuple[str, int]]:
    """Yields the convolutions that another pathway joins: names, and how many inputs are their own.

    The inputs of the other pathway come last.
    """
    for stage, others in enumerate(getattr(backbone, 'lateral_inplanes', ()), 1):
        for part in ('conv1', 'downsample'):
            name = f'layer{stage}.0.{part}.conv'
            conv = dict(backbone.named_modules()).get(name) if others else None
            if conv is not None:
                yield name, conv.in_channels - others


def _as_resnet(module: nn.Module, widened: Mapping[str, int], name: str = '') -> nn.Module:
    """A view of a network that shares its tensors and has the names and shapes of a plain ResNet.

    In it layers are without what wraps them, and without the inputs that other pathways add.

    Args:
        module: The network, or a part of it.
        widened: Convolutions that another pathway joins, with the number of their own inputs.
        name: The part's name in the network.
    """
    for wrapped in _WRAPPED:
        if isinstance(getattr(module, wrapped, None), nn.Module):
            return _as_resnet(getattr(module, wrapped), widened, name)
    view = copy.copy(module)
    if name in widened:
        weight = module.get_parameter('weight').data[:, : widened[name]]
        view.__dict__['_parameters'] = {**module._parameters, 'weight': nn.Parameter(weight)}
    if module._modules:
        view.__dict__['_modules'] = {
            key: _as_resnet(child, widened, f'{name}.{key}'.lstrip('.'))
            for key, child in module._modules.items()
            if child is not None
        }
        return view
    return view if name in widened else module  # itself, since a norm notes that it was loaded
