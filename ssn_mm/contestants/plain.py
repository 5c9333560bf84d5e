"""Layers of contestants as the plain ones that compute the same in evaluation."""

from torch import nn


def make_plain(model: nn.Module) -> None:
    """Replaces layers inside a network by what their method ``plain_layer()`` returns, in place.

    Convolutions get their standardized weights written down, and batch renormalization becomes
    batch norm. A layer used in several places stays one layer.
    """
    made: dict[nn.Module, nn.Module] = {}
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if name and callable(getattr(module, 'plain_layer', None)):
            if module not in made:
                made[module] = module.plain_layer()  # type: ignore[operator]
            parent, _, attribute = name.rpartition('.')
            setattr(model.get_submodule(parent), attribute, made[module])
