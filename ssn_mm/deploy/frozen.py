"""Checkpoints of frozen networks.

``state_dict`` has the weights of the plain layers, and ``meta['frozen']`` says which layer stands
where:
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
from ..weights.content import load_strictly, state_and_meta

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
        model: A network that ``freeze`` returned and nobody has folded.
        layers: The layer that took the place of each SSN, by name.
        out: File to write, .pth.
        dataset_meta: What mmengine keeps of the data, such as the names of the classes.
    """
    # a layer of several places is the same in each
    recipes = {
        name: dict(type=type(layer).__name__, args=_arguments(layer), first=first)
        for first, layer in layers.items()
        for name, module in model.named_modules(remove_duplicate=False)
        if module is layer
    }
    state = {key: value.cpu() for key, value in model.state_dict().items()}
    file = io.BytesIO()
    meta = {KEY: recipes, 'dataset_meta': dataset_meta}
    torch.save(dict(state_dict=state, meta=meta), file)
    write_atomically(out, file.getvalue())


def load_frozen(model: nn.Module, checkpoint: Mapping[str, Any]) -> nn.Module:
    """Puts the layers and weights of a frozen checkpoint into a network, in place.

    Args:
        model: The network, built from the config that it was trained with.
        checkpoint: What ``torch.load`` returned of the file.

    Returns:
        ``model``, in evaluation.

    Raises:
        ValueError: The checkpoint is not of a frozen network, or is of another one.
    """
    if KEY not in (checkpoint.get('meta') or {}):
        raise ValueError('not a checkpoint of a frozen network; tools/deploy.py writes them')
    state, meta = state_and_meta(checkpoint, 'the checkpoint')
    built: dict[str, nn.Module] = {}
    for name, recipe in meta[KEY].items():
        if recipe['type'] not in _KINDS:
            raise ValueError(f'{name} is {recipe["type"]!r}; expected one of {", ".join(_KINDS)}')
        parent, _, attribute = name.rpartition('.')
        try:
            owner = model.get_submodule(parent)
        except AttributeError as error:
            raise ValueError(f'the network has no layer {name}: {error}') from error
        first = recipe.get('first', name)  # which files of before do not say
        if first not in built:
            built[first] = _KINDS[recipe['type']](**recipe['args'])
        setattr(owner, attribute, built[first])
    load_strictly(model, state, 'the checkpoint')
    return model.eval()


def _arguments(layer: nn.Module) -> dict[str, Any]:
    """What a layer of ``_KINDS`` was built with."""
    if isinstance(layer, MixedNorm):
        own = {n: getattr(layer, n) for n in ('mean', 'var', 'num_groups', 'correction')}
        return dict(num_features=layer.weight.numel(), eps=float(layer.eps), **own)
    sizes = ('num_groups', 'num_channels', 'num_features')
    names = (*sizes, 'eps', 'momentum', 'affine', 'track_running_stats')
    return {name: getattr(layer, name) for name in names if hasattr(layer, name)}
