"""What networks of the sources have and the libraries' lack, as types of configs."""

import warnings
from typing import Any

from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn


def AuthorsResNet(**options: Any) -> nn.Module:  # noqa: N802, a type in configs
    """The ResNet of the config's library with the max pooling of the authors' SSN ResNet.

    That pooling does not pad and rounds up, so that features lie a pixel further; the authors' SN
    ResNet pools as others do. ``backbone=dict(type='AuthorsResNet')`` takes all options of
    'ResNet'.
    """
    scope = DefaultScope.get_current_instance()
    name = 'ResNet' if scope is None else f'{scope.scope_name}.ResNet'
    backbone = MODELS.build(dict(type=name, **options))
    backbone.maxpool = nn.MaxPool2d(3, 2, padding=0, ceil_mode=True)
    return backbone


def PublishedResNet(**options: Any) -> nn.Module:  # noqa: N802, a type in configs of 0.1
    """:func:`AuthorsResNet` under its name in configs of 0.1; warns."""
    warnings.warn("type='PublishedResNet' is now 'AuthorsResNet'", stacklevel=2)
    return AuthorsResNet(**options)


def NonLocalResNet3d(**options: Any) -> nn.Module:  # noqa: N802, a type in configs
    """mmaction2's ResNet3d with the first max pooling of Non-local networks' I3D of 32 frames.

    That pooling takes the larger of two frames, 2x3x3 without padding, where ResNet3d takes every
    other frame. ``backbone=dict(type='NonLocalResNet3d')`` takes all options of 'ResNet3d'.
    """
    backbone = MODELS.build(dict(type='mmaction.ResNet3d', **options))
    backbone.maxpool = nn.MaxPool3d((2, 3, 3), stride=2)
    return backbone


class DropoutLinear(nn.Linear):
    """A linear layer with dropout of its input in training.

    Args:
        in_features: Size of each input sample.
        out_features: Size of each output sample.
        dropout_ratio: Probability that an element of the input is 0, in [0, 1].
    """

    def __init__(self, in_features: int, out_features: int, dropout_ratio: float) -> None:
        super().__init__(in_features, out_features)
        self.dropout_ratio = dropout_ratio

    def forward(self, x: Tensor) -> Tensor:
        """Logits (..., out_features) of ``x`` (..., in_features)."""
        return super().forward(nn.functional.dropout(x, self.dropout_ratio, self.training))

    def extra_repr(self) -> str:
        return f'{super().extra_repr()}, dropout_ratio={self.dropout_ratio}'


def AuthorsClsHead(  # noqa: N802, a type in configs
    dropout_ratio: float = 0.5, **options: Any
) -> nn.Module:
    """mmpretrain's LinearClsHead with the dropout before its layer that the authors' ResNets have.

    Names in checkpoints are those of LinearClsHead, all of whose options it takes.

    Args:
        dropout_ratio: Probability that an element of the features is 0 in training.
        **options: Of LinearClsHead.

    Raises:
        ValueError: ``dropout_ratio`` is not in [0, 1].
    """
    if not 0 <= dropout_ratio <= 1:
        raise ValueError(f'dropout_ratio must be in [0, 1], got {dropout_ratio}')
    head = MODELS.build(dict(type='mmpretrain.LinearClsHead', **options))
    head.fc = DropoutLinear(head.in_channels, head.num_classes, dropout_ratio)
    return head
