"""Post-training quantization of PyTorch's exported programs, by torchao."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from .onnx_layers import NORMS
from .onnx_program import import_for

_PT2E = 'torchao.quantization.pt2e'


@torch.no_grad()
def quantize_program(graph: fx.GraphModule, samples: Sequence[Tensor]) -> fx.GraphModule:
    """Turns a float32 program's convolutions and linear layers to int8, as a CPU computes it.

    Weights have a scale for each output channel, the maps that these layers read have ranges that
    are measured on samples. Norms stay float32, and so do convolutions of rank 1 and 3 and
    transposed ones, for which ``torch.compile`` has no kernel in int8.

    Args:
        graph: The module of a program of ``torch.export``. It is changed.
        samples: Inputs of the program, at least one.

    Returns:
        A module that ``torch.export`` takes. Run as it is, it computes in float32 what int8 would
        give; ``torch.compile`` makes kernels of integers of it.

    Raises:
        ImportError: torchao is not installed.
        ValueError: Nothing of the network can compute in int8.
    """
    require_torchao()
    pt2e = import_for('int8', f'{_PT2E}.quantize_pt2e', 'int8')
    x86 = import_for('int8', f'{_PT2E}.quantizer.x86_inductor_quantizer', 'int8')
    quantizer = x86.X86InductorQuantizer()
    quantizer.set_global(x86.get_default_x86_inductor_quantization_config())
    _describe_nodes(graph)
    prepared = pt2e.prepare_pt2e(graph, quantizer)
    for sample in samples:
        prepared(sample)
    quantized = pt2e.convert_pt2e(prepared)
    if not any('dequantize_per_channel' in str(node.target) for node in quantized.graph.nodes):
        raise ValueError(
            'the network has neither a convolution of rank 2 nor a linear layer, so int8 has '
            'nothing to compute in PyTorch; export it in float32'
        )
    return quantized


def _describe_nodes(graph: fx.GraphModule) -> None:
    """Tells the quantizer which operators are norms', and which calls of a ReLU are apart.

    It takes all calls of one module for one call, and every residual block has a ReLU that it
    calls twice or more.
    """
    left = import_for('int8', f'{_PT2E}.quantizer', 'int8').QuantizationAnnotation(_annotated=True)
    for node in graph.graph.nodes:
        kinds = [kind for _, kind in node.meta.get('nn_module_stack', {}).values()]
        if any(_is_norm(kind) for kind in kinds):
            node.meta['quantization_annotation'] = left
            for key in ('source_fn_stack', 'torch_fn'):
                node.meta.pop(key, None)
        elif node.target in (torch.ops.aten.relu.default, torch.ops.aten.relu_.default):
            node.meta['source_fn_stack'] = [(node.name, nn.ReLU)]


def _is_norm(kind: Any) -> bool:
    """Whether the class of a module, or its name, is that of a norm."""
    name = kind if isinstance(kind, str) else kind.__name__
    return name.rpartition('.')[2].startswith(NORMS)


def require_torchao() -> None:
    """Raises ImportError, with the command to install it, if torchao is missing."""
    import_for('int8', 'torchao', 'int8')
