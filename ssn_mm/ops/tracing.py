"""Tells whether a call runs for its result, is recorded, or repeats an earlier one."""

import torch
from torch import Tensor
from torch.autograd import forward_ad

# looked up once: all this takes as long as a kernel on a small map where it is not in the cache
_is_compiling = torch.compiler.is_compiling
_innermost_transform = torch._C._functorch.peek_interpreter_stack
_count_modes = torch._C._len_torch_dispatch_stack
_is_jit_tracing = torch._C._is_tracing
_graph_task = torch._C._current_graph_task_id
_PLAIN = (Tensor, torch.nn.Parameter)


def is_traced(x: Tensor) -> bool:
    """Whether a compiler, tracer or fake tensor needs to see PyTorch operators only."""
    return (
        _is_compiling()
        or _is_jit_tracing()
        or type(x) not in _PLAIN
        or _count_modes() > 0
        or _innermost_transform() is not None
        or forward_ad._current_level >= 0
    )


def is_transformed() -> bool:
    """Whether ``torch.func`` (vmap, grad, jvp) or forward-mode differentiation is at work.

    They need PyTorch operators that have rules for them, and their tensors do not outlive the call.
    """
    return _innermost_transform() is not None or forward_ad._current_level >= 0


# what torch.compiler.assume_constant_result sets, without importing the compiler: while it traces,
# a transform that it has entered is at work, and its guards look at the transforms of each call
is_transformed._dynamo_marked_constant = True  # type: ignore[attr-defined]


def is_batched(t: Tensor) -> bool:
    """Whether ``vmap`` has put many tensors into this one, whose memory no kernel can read."""
    return torch._C._functorch.is_batchedtensor(t) or torch._C._functorch.is_legacy_batchedtensor(t)


def is_readable(t: Tensor) -> bool:
    """Whether a look at the values costs nothing: on the CPU, and nothing is recorded."""
    return t.device.type == 'cpu' and not is_traced(t)


def is_recomputing() -> bool:
    """Whether this forward pass repeats an earlier one inside a backward pass (checkpointing)."""
    return not _is_compiling() and _graph_task() != -1
