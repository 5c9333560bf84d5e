"""Lets exporters follow a network for any batch and size, and names the layer that they cannot."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.fx.experimental import _config
from torch.utils._pytree import tree_map

from ..commands import in_a_line
from .precision import FileNetwork


@contextmanager
def naming_layer(network: FileNetwork, inputs: Tensor) -> Iterator[None]:
    """Has an exporter's failure name the part of the network that it cannot follow.

    Raises:
        ValueError: The exporter raised something, whatever it was.
    """
    try:
        yield
    except Exception as error:  # what torch.export, sympy or a converter to ONNX raises
        where = _not_exported(network, inputs) or 'the network'
        cause: BaseException = error
        while cause.__cause__ is not None:  # exporters wrap what went wrong in advice
            cause = cause.__cause__
        hint = ''
        if inputs.dim() == 5:
            hint = f'; inputs {tuple(inputs.shape)} are taken for segments (N, M, C, H, W)'
        raise ValueError(
            f'{where} cannot be exported for any size ({in_a_line(cause)}){hint}; the frozen '
            'checkpoint needs no export, tools/infer.py runs it'
        ) from error


def _not_exported(network: FileNetwork, inputs: Tensor) -> str:
    """Type and name of the first part of a network that cannot be exported alone; '' if all can."""
    model, seen = network.network.model, dict[nn.Module, tuple]()
    hooks = [
        part.register_forward_pre_hook(lambda part, given: seen.__setitem__(part, given))
        for part in model.children()
    ]
    network(inputs)
    for hook in hooks:
        hook.remove()
    for name, part in model.named_children():
        if part not in seen:
            continue
        shapes = tree_map(_sizes_of_maps, seen[part])
        try:
            torch.export.export(part, seen[part], dynamic_shapes=shapes)
        except Exception:  # whatever the exporter raised for the whole network
            return f'{type(part).__name__} ({name})'
    return ''


def any_size() -> AbstractContextManager:
    """Lets an exporter not take a map of one pixel for a constant, which would fix its size."""
    if hasattr(_config, 'backed_size_oblivious'):
        return _config.patch(backed_size_oblivious=True)  # type: ignore[attr-defined]
    return nullcontext()


def dynamic_sizes(inputs: Tensor) -> dict[int, Any]:
    """The dimensions that may vary, as torch.export takes them: all but the channels.

    These are the second, and the third of segments and clips.
    """
    channels = 2 if inputs.dim() > 4 else 1
    return {d: Dim.DYNAMIC for d in range(inputs.dim()) if d != channels}


def _sizes_of_maps(given: Any) -> dict[int, Any] | None:
    return dynamic_sizes(given) if isinstance(given, Tensor) and given.dim() > 3 else None
