"""Convolutions with standardized weights (weight standardization, arXiv:1903.10520)."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

EPS = 1e-5


def standardize(weight: Tensor, eps: float = EPS) -> Tensor:
    """Weights with mean 0 and variance 1 in each output channel.

    Args:
        weight: Weights of a convolution, (out, in / groups, *kernel).
        eps: Added to the variance.

    Returns:
        ``(weight - mean) / sqrt(variance + eps)``, of the same shape and dtype, with the biased
        variance. Half precision is computed in float32.
    """
    wide = weight.float() if weight.dtype in (torch.float16, torch.bfloat16) else weight
    var, mean = torch.var_mean(wide.flatten(1), 1, correction=0, keepdim=True)  # (out, 1)
    return (((wide.flatten(1) - mean) * (var + eps).rsqrt()).view_as(weight)).to(weight.dtype)


class _Standardized(_ConvNd):
    """A convolution that standardizes its weight in every call; its parameters stay as they are."""

    plain: type[_ConvNd]

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return self.plain._conv_forward(self, input, standardize(weight), bias)  # type: ignore

    def plain_layer(self) -> _ConvNd:
        """The convolution of PyTorch with the standardized weight."""
        new: Any = self.plain.__new__(self.plain)
        new.__dict__ = {**self.__dict__, '_parameters': dict(self._parameters)}
        needs_grad = self.weight.requires_grad
        new.weight = nn.Parameter(standardize(self.weight.detach()), needs_grad)
        return new


class StandardizedConv1d(_Standardized, nn.Conv1d):
    """An ``nn.Conv1d`` with standardized weights."""

    plain = nn.Conv1d


class StandardizedConv2d(_Standardized, nn.Conv2d):
    """An ``nn.Conv2d`` with standardized weights."""

    plain = nn.Conv2d


class StandardizedConv3d(_Standardized, nn.Conv3d):
    """An ``nn.Conv3d`` with standardized weights."""

    plain = nn.Conv3d


KINDS: tuple[type[_Standardized], ...] = (
    StandardizedConv1d,
    StandardizedConv2d,
    StandardizedConv3d,
)
_STOCK = ('torch.nn.modules.conv', 'mmcv.cnn.bricks.wrappers')  # whose weight is what they apply


def check_standardizable(name: str, layer: nn.Module) -> None:
    """Checks that a layer is a plain convolution, whose weight is what it applies.

    Raises:
        ValueError: It is not.
    """
    stock = isinstance(layer, KINDS) or type(layer).__module__ in _STOCK
    if not stock or _standardized_class(layer) is None:
        raise ValueError(
            f'{name} is a {type(layer).__name__}, whose weight cannot be standardized; it takes '
            'nn.Conv1d, Conv2d and Conv3d'
        )


def make_standardized(layer: nn.Module) -> None:
    """Has a plain convolution standardize its weight, in place: its class becomes another."""
    layer.__class__ = _standardized_class(layer) or type(layer)


def _standardized_class(layer: nn.Module) -> type[_Standardized] | None:
    return next((kind for kind in KINDS if isinstance(layer, kind.plain)), None)
