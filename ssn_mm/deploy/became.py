"""Tells what each SSN of a network became."""

from torch import nn

from ..layers import selecting_norms
from ..timing.tables import table


def what_layers_became(model: nn.Module, layers: dict[str, nn.Module], folded: nn.Module) -> str:
    """A table with a line for each SSN: what it selected and what it is now.

    Args:
        model: The trained network.
        layers: What ``freeze`` put in the place of each SSN, by name.
        folded: The network with these layers, folded.
    """
    lines = []
    for name, ssn in selecting_norms(model):
        selected = [
            own or f'{ssn.normalizers[row.argmax()]} (forced)'
            for own, row in zip(ssn.selected, ssn.ratios(), strict=True)
        ]
        now, plain = folded.get_submodule(name), type(layers[name]).__name__
        if isinstance(now, nn.Identity):
            plain += ', folded into the layer before it'
        elif getattr(now, 'inplace', False):
            plain += ', in place'
        lines.append([name, *selected, plain])
    gone = sum(isinstance(folded.get_submodule(name), nn.Identity) for name in layers)
    return (
        table(['layer', 'mean', 'variance', 'became'], lines)
        + f'\n\n{len(lines)} SSN layers, {gone} of them folded away.\n'
    )
