"""Watches a network for the convolution before each norm, and the activation after it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_ATEN = torch.ops.aten
ACTIVATIONS = (  # modules without parameters, and the operators that they call
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish),
    *(nn.Hardswish, nn.Hardtanh, nn.Softplus, nn.Sigmoid, nn.Tanh),
)
_OPERATORS = {
    *(_ATEN.relu, _ATEN.relu_, _ATEN.hardtanh, _ATEN.hardtanh_, _ATEN.leaky_relu),
    *(_ATEN.leaky_relu_, _ATEN.elu, _ATEN.elu_, _ATEN.gelu, _ATEN.silu, _ATEN.silu_),
    *(_ATEN.mish, _ATEN.mish_, _ATEN.hardswish, _ATEN.hardswish_),
}


@dataclass(eq=False)
class Call:
    """One call of a norm: the convolution before it, and the activation after it."""

    norm: nn.Module
    before: nn.Module | None
    after: nn.Module | None = None
    function: str = ''


class Watch(TorchDispatchMode):
    """Notes what is before and after each call of a norm while a network runs.

    Args:
        norms: The norms.

    Attributes:
        calls: The calls of the norms.
        other: Activations that have been called on something else than a norm's output.
    """

    def __init__(self, norms: Mapping[nn.Module, str]) -> None:
        super().__init__()
        self.norms = norms
        self.calls: list[Call] = []
        self.other: set[nn.Module] = set()
        self._made: dict[int, tuple[Tensor, int, Any]] = {}  # tensors, alive, with their versions
        self._inside = 0  # activations and norms that are running

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket in _OPERATORS and not self._inside:
            for tensor in tree_leaves(args):
                if isinstance(call := self._maker(tensor), Call):
                    call.function = str(func.overloadpacket)
        return func(*args, **(kwargs or {}))

    def _maker(self, tensor: Any) -> Any:
        """The convolution, or the call of a norm, whose output a tensor still is."""
        made, version, maker = self._made.get(id(tensor), (None, 0, None))
        return maker if made is not None and made is tensor and made._version == version else None

    def _note(self, output: Any, maker: Any) -> None:
        if isinstance(output, Tensor):
            self._made[id(output)] = (output, output._version, maker)

    def _enter(self, module: nn.Module, args: tuple) -> None:
        if isinstance(module, _ConvNd):
            return
        self._inside += 1
        maker = self._maker(args[0]) if args else None
        if module in self.norms:
            self.calls.append(Call(module, maker if isinstance(maker, nn.Module) else None))
        elif isinstance(maker, Call):
            maker.after = module
        else:
            self.other.add(module)

    def _leave(self, module: nn.Module, args: tuple, output: Any) -> None:
        if isinstance(module, _ConvNd):
            self._note(output, module)
            return
        self._inside -= 1
        if module in self.norms:
            own = next(call for call in reversed(self.calls) if call.norm is module)
            self._note(output, own)

    @contextmanager
    def hooks(self, model: nn.Module) -> Iterator[None]:
        """Has convolutions, norms and activations of a network say when they run."""
        handles = []
        for module in model.modules():
            if module in self.norms or isinstance(module, (_ConvNd, *ACTIVATIONS)):
                handles.append(module.register_forward_pre_hook(self._enter))
                handles.append(module.register_forward_hook(self._leave, prepend=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
