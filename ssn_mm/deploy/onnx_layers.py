"""Which layer each operator of an exported ONNX program is a part of."""

from ast import literal_eval
from collections.abc import Sequence
from typing import Any

NORMS = ('MixedNorm', 'InstanceNorm', 'GroupNorm', 'LayerNorm', 'BatchNorm')  # how classes begin


def name_by_layers(graph: Any) -> None:
    """Names the nodes of a graph after their layers, so that messages of runtimes name these."""
    ends = {*graph.inputs, *graph.outputs}
    for node in graph:
        layer = _layer(literal_eval(node.metadata_props.get('pkg.torch.onnx.name_scopes', '[]')))
        if layer and not layer.startswith('_'):  # of what the exporter adds
            for one in (node, *(value for value in node.outputs if value not in ends)):
                one.name = f'{layer}/{one.name}'


def layer_of(node: Any) -> tuple[str, bool]:
    """The name of the layer of a program's node, and whether that is a norm."""
    stored = {entry.key.rpartition('.')[2]: entry.value for entry in node.metadata_props}
    kinds = literal_eval(stored.get('class_hierarchy', '[]'))
    kind = kinds[-2].rpartition('.')[2] if kinds[1:] else ''
    layer = _layer(literal_eval(stored.get('name_scopes', '[]')))
    return layer or node.name, kind.startswith(NORMS)


def _layer(scopes: Sequence[str]) -> str:
    """The innermost of the names around an operator, which is the last, as the network has it."""
    return scopes[-2].removeprefix('network.').removeprefix('model.') if scopes[1:] else ''
