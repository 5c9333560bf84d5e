"""From a trained SSN to the plain layers it selected."""

import torch
from torch import nn

from ..layers import SSN, MixedNorm, ssn_layers


@torch.no_grad()
def freeze(model: nn.Module) -> nn.Module:
    """Replaces every SSN by the torch module it selected, in place.

    BN becomes ``nn.BatchNormNd``, IN ``nn.InstanceNormNd``, LN and GN ``nn.GroupNorm``; where
    mean and variance chose differently, ``MixedNorm``. In evaluation outputs stay the same to
    rounding.

    Args:
        model: Has seen an input, so that its layers know the rank of theirs; those that inference
            leaves out, as auxiliary heads, are taken to be like the others.

    Returns:
        ``model``; its replacement where it is an SSN itself.

    Raises:
        ValueError: A layer has not chosen yet, or none has seen an input; nothing is replaced.
    """
    layers = dict(ssn_layers(model))
    for name, layer in layers.items():
        if None in layer.selected:
            raise ValueError(
                f'{name or "the layer"} has not chosen yet, its ratios are '
                f'{layer.ratios().tolist()} for {layer.normalizers}; train on until the radius '
                'reaches the circumscribed one'
            )
    ranks = [layer.spatial_rank for layer in layers.values() if layer.spatial_rank is not None]
    if layers and not ranks:
        raise ValueError('the model has seen no input, so the rank of its maps is unknown; run it')
    if isinstance(model, SSN):
        return _plain(model, ranks[0])
    for name, layer in layers.items():
        parent, _, attribute = name.rpartition('.')
        setattr(model.get_submodule(parent), attribute, _plain(layer, max(ranks)))
    return model


def _plain(layer: SSN, rank: int) -> nn.Module:
    mean, var = layer.selected
    assert mean is not None  # freeze has looked
    assert var is not None
    plain: nn.Module
    rank = layer.spatial_rank or rank or 1  # (N, C) is 1D to torch
    if mean != var:
        plain = MixedNorm(layer.num_features, mean, var, layer.eps, layer.num_groups)
    elif mean == 'BN':
        kind = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[rank - 1]
        plain = kind(layer.num_features, layer.eps, layer.momentum)
    elif mean == 'IN':
        norm = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)[rank - 1]
        plain = norm(layer.num_features, layer.eps, affine=True)
    else:
        groups = 1 if mean == 'LN' else layer.num_groups
        plain = nn.GroupNorm(groups, layer.num_features, layer.eps)
    own = layer.state_dict()
    state = {key: own.get(key, value) for key, value in plain.state_dict().items()}
    plain.load_state_dict(state)
    return plain.to(layer.ratio_logits.device).train(layer.training)
