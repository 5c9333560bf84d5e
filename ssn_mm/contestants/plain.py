"""Layers of contestants as the plain ones that compute the same in evaluation."""

from torch import nn

from ..layers.replacing import replace_modules


def make_plain(model: nn.Module) -> None:
    """Replaces layers inside a network by what their method ``plain_layer()`` returns, in place.

    Convolutions get their standardized weights written down, and batch renormalization becomes
    batch norm. A layer used in several places stays one layer.
    """
    plain = {
        module: module.plain_layer()  # type: ignore[operator]
        for name, module in model.named_modules()
        if name and callable(getattr(module, 'plain_layer', None))
    }
    replace_modules(model, plain)
