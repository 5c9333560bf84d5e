"""The ε of a layer that has batch norm's names and is not batch norm."""

from typing import Any

import torch
from torch import Tensor

from .sharded import has_values


class GuardedEps(float):
    """A float that refuses to be added to the running variance of the layer that it belongs to.

    Our layers have batch norm's names, so that its checkpoints load. Functions that fold batch norm
    into a convolution (PyTorch's ``fuse_conv_bn_eval``, mmcv's ``fuse_conv_bn``,
    ``switch_to_deploy`` of RepVGG or LeViT) read these names without a look at the type, and would
    return a network that computes something else. All of them start from ``running_var + eps``,
    which nobody else computes: the layers themselves keep a plain float.

    Raises:
        ValueError: In ``running_var + eps``, whichever way it is written.
    """

    owner: str
    running_var: Tensor | None

    def __new__(cls, value: float, owner: str, running_var: Tensor | None) -> 'GuardedEps':
        """Makes ε refuse the running variance.

        Args:
            value: ε.
            owner: Name of the layer's class, for the message.
            running_var: The layer's running variance, (C,), or None if it has none.
        """
        eps = super().__new__(cls, value)
        eps.owner, eps.running_var = owner, running_var
        return eps

    def __reduce__(self) -> tuple[type, tuple[float]]:
        return float, (float(self),)  # so that copies and files hold the number alone

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [*args, *(kwargs or {}).values()]
        for eps in given:
            if isinstance(eps, cls) and any(eps._is_own(other) for other in given):
                # a TypeError would be replaced by Python's own
                raise ValueError(
                    f'{eps.owner} is folded like batch norm, which it is not: its statistics are '
                    'a mixture, or those of the normalizer that it selected. Freeze the network '
                    'with ssn_mm.deploy.freeze first: layers that selected BN become batch norm, '
                    'and ssn_mm.deploy.fold folds them'
                )
        numbers = [float(value) if isinstance(value, cls) else value for value in args]
        named = {k: float(v) if isinstance(v, cls) else v for k, v in (kwargs or {}).items()}
        return func(*numbers, **named)

    def _is_own(self, other: Any) -> bool:
        own = self.running_var
        if own is None or not isinstance(other, Tensor):
            return False
        if other is own or other.is_set_to(own):
            return True
        # some folds cast it to another precision first
        if other.dtype == own.dtype or other.shape != own.shape or other.device != own.device:
            return False
        return has_values(own) and has_values(other) and torch.equal(own.to(other.dtype), other)


class EpsOfLayer:
    """The attribute ``eps`` of a layer, guarded for others; the layer itself reads ``_eps``."""

    def __get__(self, layer: Any, owner: type | None = None) -> GuardedEps:
        return GuardedEps(layer._eps, type(layer).__name__, layer.running_var)

    def __set__(self, layer: Any, value: float) -> None:
        layer._eps = float(value)
