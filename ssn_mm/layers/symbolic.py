"""What layers say to those who trace or transform them: ``torch.fx``, TorchScript and ``vmap``."""

from typing import Any, NoReturn

from torch import nn
from torch.fx import Proxy

from ..ops.tracing import is_batched


def is_symbolic(x: Any) -> bool:
    """Whether an input stands for a value that a tracer does not have."""
    return isinstance(x, Proxy)


def as_one_call(layer: nn.Module, x: Any) -> Any:
    """Records a call of the layer, as tracers do for what lies in ``torch.nn``.

    Tracers look into every other module, and what a layer does depends on values and shapes that a
    proxy does not have. So the traced network holds the layer itself, which can still be trained,
    select, and be frozen.

    Raises:
        ValueError: The layer is all that is traced, so that no name is left to call it by.
    """
    name = x.tracer.path_of_module(layer)
    if not name:
        raise ValueError(
            f'{type(layer).__name__} alone cannot be traced symbolically, as no norm of torch.nn '
            'can; trace a network that contains it'
        )
    return x.tracer.create_proxy('call_module', name, (x,), {})


def check_batched(layer: Any, x: Any) -> None:
    """Refuses to update running statistics with many batches at once, as batch norm does.

    Raises:
        RuntimeError: ``vmap`` runs several batches, and the layer has statistics for one.
    """
    mean = layer.running_mean
    if is_batched(x) and mean is not None and not is_batched(mean):
        raise RuntimeError(
            f'{type(layer).__name__} in training has running statistics to update, which vmap '
            'cannot do with the batches that it runs at once: call eval(), build it with '
            'track_running_stats=False, or give each its own with torch.func.stack_module_state'
        )


def refuse_script(layer: nn.Module) -> NoReturn:
    """Refuses ``torch.jit.script``, which calls this before it reads a layer's code.

    Raises:
        TypeError: Always.
    """
    raise TypeError(
        f'{type(layer).__name__} cannot be scripted. Use torch.jit.trace, torch.export or '
        'torch.compile; or freeze the network with ssn_mm.deploy.freeze, after which layers with '
        'the same normalizer for mean and variance are layers of torch.nn'
    )
