"""The ReLU that a norm before it may have computed in its own pass over the map."""

from typing import TypeGuard

import torch
from torch import Tensor, nn

from .symbolic import is_symbolic

_DONE = '_ssn_mm_rectified'  # a tensor that a norm has rectified has this attribute


def rectified(y: Tensor) -> Tensor:
    """Marks the output of a norm as one that the next :class:`ReLUOnce` passes on."""
    setattr(y, _DONE, True)
    return y


class ReLUOnce(nn.ReLU):
    """ReLU, but for maps that the norm before it has rectified, which are passed on.

    ``fold`` puts it in the place of an ``nn.ReLU`` that alone reads a norm's output. The module may
    run several times in a pass, as that of a residual block does: each map tells for itself, once.
    Where a norm cannot rectify (gradients, tracing, export, no kernels), this layer does.
    """

    @classmethod
    def in_place_of(cls, relu: nn.ReLU) -> 'ReLUOnce':
        """The layer that takes a ReLU's place, with all of its attributes and hooks."""
        new = cls()
        vars(new).update(vars(relu))
        return new

    def forward(self, x: Tensor) -> Tensor:
        """Sets what is below 0 in ``x`` to 0."""
        if not torch.compiler.is_compiling() and not is_symbolic(x) and hasattr(x, _DONE):
            delattr(x, _DONE)  # what changes the map from here on is not the norm's
            return x
        return super().forward(x)


def is_relu(module: nn.Module | None) -> TypeGuard[nn.ReLU]:
    """Whether a module is ReLU, as torch computes it."""
    return isinstance(module, nn.ReLU) and type(module).forward is nn.ReLU.forward
