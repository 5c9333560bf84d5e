"""mmaction2's own ways to start a network from 2D weights, made to know SSN and SN."""

import copy
import re
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

from mmengine.model import initialize
from mmengine.runner.checkpoint import _load_checkpoint, _load_checkpoint_with_prefix
from torch import nn

from ..importing import after_import
from ..layers import ssn_layers
from .files import state_of
from .loading import load_weights

RESNET2D = 'mmaction.models.backbones.resnet'
RESNET3D = 'mmaction.models.backbones.resnet3d'
PATHWAY = 'mmaction.models.backbones.resnet3d_slowfast'
TSM = 'mmaction.models.backbones.resnet_tsm'
MOBILENET = 'mmaction.models.backbones.mobilenet_v2_tsm'
MOBILEONE = 'mmaction.models.backbones.mobileone_tsm'
_WRAPPED = ('net2', 'net', 'block')  # what the wrappers of TSM, TIN and non-local blocks call it


def apply() -> None:
    """Repairs the backbones once mmaction2 is imported, for which others need not wait."""
    after_import(
        {
            RESNET2D: repair_resnet,
            RESNET3D: repair_inflation,
            PATHWAY: repair_pathway,
            TSM: repair_tsm,
            MOBILENET: repair_mobile,
            MOBILEONE: repair_mobile,
        }
    )


def repair_resnet(resnet: ModuleType) -> None:
    """Lets mmaction2's 2D ResNet start from torchvision's names with any norm on either side.

    Its own way asks the checkpoint for every parameter of a norm layer, ``ratio_logits`` too.
    """
    load = resnet._load_checkpoint

    def load_torchvision(backbone: nn.Module, logger: Any) -> None:
        _fill(backbone, load(backbone.pretrained, map_location='cpu'), logger)

    resnet.ResNet._load_torchvision_checkpoint = load_torchvision


def repair_inflation(resnet3d: ModuleType) -> None:
    """Lets mmaction2's ResNet3d start from 2D ResNets with any norm on either side.

    Its own inflation asks the 2D checkpoint for every parameter of a norm layer (a KeyError for
    ``ratio_logits``, which batch norm's checkpoint lacks), copies SSN's radius, knows norm layers
    called 'bn' only, and leaves the network at random where names have mmpretrain's prefix. And
    ``init_cfg`` is passed over where ``pretrained`` is not given.

    Args:
        resnet3d: The module ``mmaction.models.backbones.resnet3d``.
    """
    load, init = resnet3d._load_checkpoint, resnet3d.ResNet3d._init_weights

    def inflate_weights(backbone: nn.Module, logger: Any) -> None:
        _fill(backbone, load(backbone.pretrained, map_location='cpu'), logger)

    def init_weights(backbone: Any, pretrained: str | None = None) -> None:
        init(backbone, pretrained)
        if isinstance(backbone.init_cfg, dict) and backbone.init_cfg['type'] == 'Pretrained':
            initialize(backbone, backbone.init_cfg)

    resnet3d.ResNet3d._inflate_weights = staticmethod(inflate_weights)
    resnet3d.ResNet3d._init_weights = staticmethod(init_weights)


def repair_pathway(slowfast: ModuleType) -> None:
    """Lets the pathways of SlowFast, SlowOnly and PoseC3D start as ResNet3d does.

    Where the other pathway joins in, a convolution has more inputs than its 2D one. These start
    at 0, as mmaction2 has it.
    """
    load = slowfast._load_checkpoint

    def inflate_weights(backbone: nn.Module, logger: Any) -> None:
        _fill(backbone, load(backbone.pretrained, map_location='cpu'), logger)

    slowfast.ResNet3dPathway.inflate_weights = inflate_weights


def repair_tsm(tsm: ModuleType) -> None:
    """Lets TSM's and TIN's ResNet start as the 2D ResNet does, whatever wraps its layers.

    Its own way fills nothing, without a word, where names have mmpretrain's prefix; without
    ``pretrained`` it is a TypeError, so that ``init_cfg`` cannot be used.
    """
    load, init = tsm._load_checkpoint, tsm.ResNetTSM.init_weights

    def load_original_weights(backbone: nn.Module, logger: Any) -> None:
        _fill(backbone, load(backbone.pretrained, map_location='cpu'), logger)

    def init_weights(backbone: Any) -> None:
        cfg = backbone.init_cfg
        if backbone.pretrained is not None:
            init(backbone)
        elif isinstance(cfg, dict) and cfg['type'] == 'Pretrained':
            _fill(backbone, _read(cfg), 'current', keep_radius=True)
        else:
            super(tsm.ResNetTSM, backbone).init_weights()

    tsm.ResNetTSM.load_original_weights = load_original_weights
    tsm.ResNetTSM.init_weights = init_weights


def repair_mobile(tsm: ModuleType) -> None:
    """Lets TSM's MobileNetV2 and MobileOne start from 2D ones with any norm on either side.

    Their own way loads strictly, which no checkpoint of batch norm survives beside ratio logits,
    nor one with mmpretrain's prefix that MobileNetV2 is not told of; and it needs a checkpoint.
    """
    kind = tsm.MobileNetV2TSM if hasattr(tsm, 'MobileNetV2TSM') else tsm.MobileOneTSM

    def load_original_weights(backbone: Any, logger: Any) -> None:
        _fill(backbone, _read(backbone.init_cfg), logger)

    def init_weights(backbone: Any) -> None:
        cfg = backbone.init_cfg  # MobileNetV2 makes it of ``pretrained``
        if backbone.pretrained2d and isinstance(cfg, dict) and cfg['type'] == 'Pretrained':
            backbone.load_original_weights('current')
        else:
            super(kind, backbone).init_weights()

    kind.load_original_weights, kind.init_weights = load_original_weights, init_weights


def _read(init_cfg: Mapping[str, Any]) -> Mapping[str, Any]:
    """The weights that a 'Pretrained' names."""
    file, prefix = init_cfg['checkpoint'], init_cfg.get('prefix')
    if prefix is not None:
        return _load_checkpoint_with_prefix(prefix, file, map_location='cpu')
    return _load_checkpoint(file, map_location='cpu')


def _fill(
    backbone: nn.Module, checkpoint: Mapping[str, Any], logger: Any, keep_radius: bool = False
) -> None:
    state = state_of(checkpoint, '2D checkpoint')
    state = {re.sub(rf'\.(?:{"|".join(_WRAPPED)})(?=\.)', '', k): v for k, v in state.items()}
    report = load_weights(_as_resnet(backbone, dict(_widened(backbone))), state)
    report.log(logger)
    for name, own in _widened(backbone):
        if f'{name}.weight' in report.loaded:
            backbone.get_parameter(f'{name}.weight').data[:, own:] = 0
    if not keep_radius:
        for _, layer in ssn_layers(backbone):
            layer.radius.zero_()  # belongs to the training that is over


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
