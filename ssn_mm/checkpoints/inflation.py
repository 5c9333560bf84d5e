"""2D weights as the start of 3D networks, for mmaction2's ``pretrained2d=True``."""

import sys
from collections.abc import Mapping
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

NORMS_2D = ('bn', 'gn', 'in', 'ln')  # what mmcv calls norm layers; SN and SSN are called bn
RESNET3D = 'mmaction.models.backbones.resnet3d'


def apply() -> None:
    """Repairs the inflation once mmaction2 is imported, for which others need not wait."""
    if RESNET3D in sys.modules:
        repair_inflation(sys.modules[RESNET3D])
    elif find_spec('mmaction'):
        sys.meta_path.insert(0, _Repair())


class _Repair(MetaPathFinder):
    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if name != RESNET3D:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path)
        if spec and spec.loader:
            execute = spec.loader.exec_module

            def execute_and_repair(module: ModuleType) -> None:
                execute(module)
                repair_inflation(module)

            spec.loader.exec_module = execute_and_repair  # type: ignore[method-assign]
        return spec


def repair_inflation(resnet3d: ModuleType) -> None:
    """Lets mmaction2's ResNet3d start from 2D ResNets with any norm on either side.

    Its own inflation asks the 2D checkpoint for every parameter of a norm layer (a KeyError for
    ``ratio_logits``, which batch norm's checkpoint lacks), copies SSN's radius, knows norm layers
    called 'bn' only, and leaves the network at random where names have mmpretrain's prefix.

    Args:
        resnet3d: The module ``mmaction.models.backbones.resnet3d``.
    """
    load = resnet3d._load_checkpoint

    def inflate_weights(backbone: nn.Module, logger: Any) -> None:
        state = backbone_weights(load(backbone.pretrained, map_location='cpu'))
        left_out = inflate(backbone, state)
        if left_out:
            logger.warning(f'{backbone.pretrained!r} does not fit, at random: {left_out}')

    resnet3d.ResNet3d._inflate_weights = staticmethod(inflate_weights)
    resnet3d.ResNet3d._inflate_bn_params = staticmethod(_inflate_norm)  # SlowFast's pathways, too


def backbone_weights(checkpoint: Mapping[str, Any]) -> Mapping[str, Tensor]:
    """A checkpoint's weights under the backbone's own names, mmpretrain's prefix removed."""
    state = checkpoint.get('state_dict', checkpoint)
    prefix = 'backbone.'
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)} or state


def inflate(backbone: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """Fills a ResNet3d from the weights of a 2D ResNet of the same depth.

    A kernel of T frames is T copies of the 2D kernel over T, so that a video of equal frames gives
    what the image gives. Norm layers take what has their names, ratio logits and running
    statistics included; SSN's radius stays, as it belongs to a training.

    Returns:
        The layers for which ``state`` has nothing that fits.

    Raises:
        ValueError: Nothing fits at all, or ratio logits are of another number of normalizers.
    """
    from mmcv.cnn import ConvModule

    left_out: list[str] = []
    taken: list[str] = []
    for name, module in backbone.named_modules():
        if not isinstance(module, ConvModule):
            continue
        downsample = 'downsample' in name
        conv = f'{name}.0' if downsample else name
        norms = [f'{name}.1'] if downsample else [name.replace('conv', n) for n in NORMS_2D]
        norm = next((n for n in norms if f'{n}.weight' in state), None)
        kernel = state.get(f'{conv}.weight', torch.empty(0))
        shape = module.conv.weight.shape
        if kernel.shape == (*shape[:2], *shape[3:]):
            backbone._inflate_conv_params(module.conv, state, conv, taken)  # type: ignore[operator]
        else:
            left_out.append(conv)
        if norm and module.with_norm:
            _inflate_norm(module.norm, state, norm, taken)
        elif module.with_norm:
            left_out.append(norms[0])
    if not taken:
        raise ValueError(
            'the 2D checkpoint has no weights of this backbone, its first names are '
            f'{list(state)[:3]}; pretrained2d=True takes a ResNet of depth {backbone.depth}'
        )
    return left_out


@torch.no_grad()
def _inflate_norm(
    layer: nn.Module, state: Mapping[str, Tensor], name: str, taken: list[str]
) -> None:
    """Copies a 2D norm layer's parameters and buffers, under mmaction2's own signature."""
    for key, value in (*layer.named_parameters(), *layer.named_buffers()):
        source = state.get(f'{name}.{key}')
        if source is None or key == 'radius':
            continue  # another norm's checkpoint: ratio logits or statistics stay at their start
        if source.shape != value.shape:
            raise ValueError(
                f'{name}.{key} is {tuple(source.shape)} in the 2D checkpoint and '
                f'{tuple(value.shape)} in the network; ratio logits need the same normalizers'
            )
        value.copy_(source)
        taken.append(f'{name}.{key}')
