"""Whether a call is run for its result or to be recorded."""

import torch
from torch import Tensor


def is_traced(x: Tensor) -> bool:
    """Whether a compiler, tracer or fake tensor needs to see PyTorch operators only."""
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or type(x) not in (Tensor, torch.nn.Parameter)
        or torch._C._len_torch_dispatch_stack() > 0
    )
