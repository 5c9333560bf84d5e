"""Ratio logits of models whose parameters are spread over processes (FSDP2's ``fully_shard``).

Inside a forward pass they are whole tensors; between two forward passes each process has a part.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..ops.tracing import is_traced

_PLAIN = (Tensor, nn.Parameter)
_TAKES_OWN_PART = torch.__version__ >= (2, 7)  # type: ignore[operator]


def is_sharded(logits: Tensor) -> bool:
    """Whether FSDP2 has made the logits a DTensor."""
    # a look for an attribute that is not there takes longer than all else that is asked of a layer
    return type(logits) not in _PLAIN and hasattr(logits, 'full_tensor')


def is_whole(logits: Tensor) -> bool:
    """Whether logits are an ordinary parameter (2, K), neither sharded nor flattened by FSDP1."""
    return isinstance(logits, nn.Parameter) and logits.dim() == 2 and not is_sharded(logits)


def has_values(logits: Tensor) -> bool:
    """Whether values can be read: the tensor is not meta, fake, batched or recorded."""
    return not (logits.is_meta or is_traced(logits))


def whole(logits: Any) -> Tensor:
    """Logits (2, K) as a plain tensor; every process has to call it if they are sharded.

    Raises:
        ValueError: FSDP1 flattened them.
    """
    if logits.dim() != 2:
        raise ValueError(_refusal(logits))
    return logits.full_tensor() if is_sharded(logits) else logits


def stack_whole(logits: Sequence[Tensor]) -> Tensor:
    """Logits of L layers, all sharded alike or not at all, as a plain (L, 2, K) tensor.

    Raises:
        ValueError: FSDP1 flattened them.
    """
    if is_sharded(logits[0]):  # one exchange between processes for all layers
        return torch.stack(list(logits)).full_tensor()  # type: ignore[attr-defined]
    for z in logits:
        if not is_whole(z):
            raise ValueError(_refusal(z))
    return torch.stack(list(logits))


def copy_whole(logits: Sequence[Any], values: Tensor) -> None:
    """Copies ``values`` (L, 2, K), the same on every process, into the logits of L layers."""
    if not is_sharded(logits[0]):
        torch._foreach_copy_(list(logits), list(values))
        return
    for z, value in zip(logits, values, strict=True):
        z.copy_(spread_like(z, value))


def spread_like(logits: Any, value: Tensor) -> Tensor:
    """``value`` (2, K), the same on every process, sharded as ``logits`` are, or as it is."""
    if not is_sharded(logits):
        return value
    from torch.distributed.tensor import distribute_tensor  # not in every build of PyTorch

    # each process takes its part, without an exchange; with one in PyTorch 2.6
    options: dict[str, Any] = dict(src_data_rank=None) if _TAKES_OWN_PART else {}
    return distribute_tensor(value, logits.device_mesh, logits.placements, **options)


def _refusal(logits: Tensor) -> str:
    return (
        f'ratio logits must be a parameter (2, K), got {tuple(logits.shape)}: '
        'FullyShardedDataParallel (FSDP1, MMFullyShardedDataParallel) flattens parameters and '
        'cuts within rows; use torch.distributed.fsdp.fully_shard, or DDP'
    )
