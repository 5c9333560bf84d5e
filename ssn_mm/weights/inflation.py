"""2D weights for mmaction2's backbones, whatever wraps or widens their layers."""

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.runner.checkpoint import _load_checkpoint, _load_checkpoint_with_prefix
from torch import nn

from ..layers import ssn_layers
from .files import state_of
from .loading import load_weights

_WRAPPED = ('net2', 'net', 'block')  # what the wrappers of TSM, TIN and non-local blocks call it


def read_2d(init_cfg: Mapping[str, Any]) -> Mapping[str, Any]:
    """Reads the weights that an ``init_cfg`` of type 'Pretrained' names."""
    file, prefix = init_cfg['checkpoint'], init_cfg.get('prefix')
    if prefix is not None:
        return _load_checkpoint_with_prefix(prefix, file, map_location='cpu')
    return _load_checkpoint(file, map_location='cpu')


def fill(
    backbone: nn.Module, checkpoint: Mapping[str, Any], logger: Any, keep_radius: bool = False
) -> None:
    """Fills a 2D or 3D backbone with a checkpoint of its 2D one, any norm on either side.

    Convolutions that another pathway joins start at 0 in its channels.

    Args:
        backbone: Of mmaction2.
        checkpoint: As it was read.
        logger: mmengine's, or its name.
        keep_radius: Whether SSN keeps the checkpoint's radius, which belongs to the training that
            is over.

    Raises:
        ValueError: Nothing of the checkpoint fits.
    """
    state = state_of(checkpoint, '2D checkpoint')
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
    """Convolutions whose inputs another pathway joins: their names, how many inputs are their own.

    The other's come last.
    """
    for stage, others in enumerate(getattr(backbone, 'lateral_inplanes', ()), 1):
        for part in ('conv1', 'downsample'):
            name = f'layer{stage}.0.{part}.conv'
            conv = dict(backbone.named_modules()).get(name) if others else None
            if conv is not None:
                yield name, conv.in_channels - others


def _as_resnet(module: nn.Module, widened: Mapping[str, int], name: str = '') -> nn.Module:
    """A view of a network, of the same tensors, in which layers are a plain ResNet's.

    That is without what wraps them and without the inputs that other pathways add, so that names
    and shapes are those that checkpoints have.
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
    return view if name in widened else module  # a norm must learn what it is loaded with
