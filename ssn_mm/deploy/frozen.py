"""Checkpoints of frozen networks.

``state_dict`` is that of the plain layers, ``meta['frozen']`` tells which layer stands where:
``{name: {'type': 'InstanceNorm2d', 'args': {'num_features': 64, ...}}}``. Both are plain data, so
that PyTorch alone reads them with ``weights_only``, and where every type is one of ``torch.nn``,
three lines rebuild the network without this package, see docs/deploy.md.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..files import write_atomically
from ..layers import MixedNorm

KEY = 'frozen'
_KINDS = {
    kind.__name__: kind
    for kind in (
        *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d),
        *(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
        *(nn.GroupNorm, MixedNorm),
    )
}


def save_frozen(
    model: nn.Module, layers: Mapping[str, nn.Module], out: str | Path, dataset_meta: Any = None
) -> None:
    """Writes a frozen network, atomically.

    Args:
        model: From ``freeze``, not folded.
        layers: What became of every SSN, by name.
        out: File to write, .pth.
        dataset_meta: Names of the classes and the like, as mmengine keeps them.
    """
    recipes = {
        name: dict(type=type(layer).__name__, args=_arguments(layer))
        for name, layer in layers.items()
    }
    state = {key: value.cpu() for key, value in model.state_dict().items()}
    file = io.BytesIO()
    meta = {KEY: recipes, 'dataset_meta': dataset_meta}
    torch.save(dict(state_dict=state, meta=meta), file)
    write_atomically(out, file.getvalue())


def load_frozen(model: nn.Module, checkpoint: Mapping[str, Any]) -> nn.Module:
    """Puts the layers and weights of a frozen checkpoint into a network, in place.

    Args:
        model: Built from the config it was trained with.
        checkpoint: What ``torch.load`` returned.

    Returns:
        ``model``, in evaluation.

    Raises:
        ValueError: It is not a frozen checkpoint, or of another network.
    """
    recipes = (checkpoint.get('meta') or {}).get(KEY)
    if recipes is None:
        raise ValueError('not a checkpoint of a frozen network; tools/deploy.py writes them')
    for name, recipe in recipes.items():
        if recipe['type'] not in _KINDS:
            raise ValueError(f'{name} is {recipe["type"]!r}; expected one of {", ".join(_KINDS)}')
        parent, _, attribute = name.rpartition('.')
        try:
            owner = model.get_submodule(parent)
        except AttributeError as error:
            raise ValueError(f'the network has no layer {name}: {error}') from error
        setattr(owner, attribute, _KINDS[recipe['type']](**recipe['args']))
    try:
        model.load_state_dict(checkpoint['state_dict'])
    except RuntimeError as error:
        raise ValueError(f'the checkpoint is of another network: {error}') from error
    return model.eval()


def _arguments(layer: nn.Module) -> dict[str, Any]:
    if isinstance(layer, MixedNorm):
        own = {n: getattr(layer, n) for n in ('mean', 'var', 'num_groups', 'correction')}
        return dict(num_features=layer.weight.numel(), eps=float(layer.eps), **own)
    names = ('num_groups', 'num_channels', 'num_features', 'eps', 'momentum', 'affine')
    return {name: getattr(layer, name) for name in names if hasattr(layer, name)}
