"""mmaction2's own ways to start a network from 2D weights, made to know SSN and SN."""

import sys
from collections.abc import Mapping
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from mmengine.model import initialize
from torch import Tensor, nn

from ..layers import ssn_layers
from .files import state_of
from .loading import load_weights

RESNET2D = 'mmaction.models.backbones.resnet'
RESNET3D = 'mmaction.models.backbones.resnet3d'


def apply() -> None:
    """Repairs the backbones once mmaction2 is imported, for which others need not wait."""
    waiting = {RESNET2D: repair_resnet, RESNET3D: repair_inflation}
    for name in list(waiting):
        if name in sys.modules:
            waiting.pop(name)(sys.modules[name])
    if waiting and find_spec('mmaction'):
        sys.meta_path.insert(0, _Repair(waiting))


class _Repair(MetaPathFinder):
    def __init__(self, waiting: dict[str, Any]) -> None:
        self.waiting = waiting

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if name not in self.waiting:
            return None
        repair = self.waiting.pop(name)
        spec = PathFinder.find_spec(name, path)
        if spec and spec.loader:
            execute = spec.loader.exec_module

            def execute_and_repair(module: ModuleType) -> None:
                execute(module)
                repair(module)

            spec.loader.exec_module = execute_and_repair  # type: ignore[method-assign]
        return spec


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
    resnet3d.ResNet3d._inflate_bn_params = staticmethod(_inflate_norm)  # SlowFast's pathways


def _fill(backbone: nn.Module, checkpoint: Mapping[str, Any], logger: Any) -> None:
    load_weights(backbone, state_of(checkpoint, 'the 2D checkpoint')).log(logger)
    for _, layer in ssn_layers(backbone):
        layer.radius.zero_()  # belongs to the training that is over


def _inflate_norm(
    layer: nn.Module, state: Mapping[str, Tensor], name: str, taken: list[str]
) -> None:
    """Fills a norm layer from a 2D one, under mmaction2's own signature."""
    prefix = f'{name}.'
    own = {key.removeprefix(prefix): t for key, t in state.items() if key.startswith(prefix)}
    load_weights(layer, own)
    taken += [prefix + key for key in own]
