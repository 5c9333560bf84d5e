"""From a trained SSN to the plain layers it selected."""

import warnings

import torch
from torch import nn

from ..layers import SSN, MixedNorm, ssn_layers
from ..ops.normalizers import competing


@torch.no_grad()
def freeze(model: nn.Module, force: bool = False) -> nn.Module:
    """Replaces every SSN by the torch module it selected, in place.

    BN becomes ``nn.BatchNormNd``, IN ``nn.InstanceNormNd``, LN and GN ``nn.GroupNorm``; where
    mean and variance chose differently, ``MixedNorm``. In evaluation outputs stay the same to
    rounding. A layer used in several places stays one layer.

    Args:
        model: Has seen an input, so that its layers know the rank of theirs; those that inference
            leaves out, as auxiliary heads, are taken to be like the others.

        force: Where a row has not chosen, take its largest ratio, and warn with what that changed;
            outputs then differ.

    Returns:
        ``model``; its replacement where it is an SSN itself.

    Raises:
        ValueError: A layer has not chosen yet, or none has seen an input; or it has BN for one of
            mean and variance, without running statistics. Nothing is replaced.
    """
    layers = dict(ssn_layers(model))
    undecided = {name: layer for name, layer in layers.items() if None in layer.selected}
    for name, layer in undecided.items():
        if not force:
            raise ValueError(
                f'{name or "the layer"} has not chosen yet, its ratios are '
                f'{layer.ratios().tolist()} for {layer.normalizers}; train on until the radius '
                'reaches the circumscribed one, or take the largest ratios with force=True'
            )
    ranks = [layer.spatial_rank for layer in layers.values() if layer.spatial_rank is not None]
    if layers and not ranks:
        raise ValueError('the model has seen no input, so the rank of its maps is unknown; run it')
    for name, layer in undecided.items():
        warnings.warn(
            f'{name or "the layer"} had not chosen, its ratios {layer.ratios().tolist()} for '
            f'{layer.normalizers} became {" and ".join(_choice(layer))}',
            stacklevel=3,  # no_grad wraps this function
        )
    plain = {layer: _plain(layer, max(ranks)) for layer in layers.values()}
    if isinstance(model, SSN):
        return plain[model]
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if isinstance(module, SSN):
            parent, _, attribute = name.rpartition('.')
            setattr(model.get_submodule(parent), attribute, plain[module])
    return model


def _choice(layer: SSN) -> tuple[str, str]:
    """Normalizers of the largest ratios, for the mean and for the variance."""
    mean, var = layer.ratios().argmax(-1).tolist()
    return layer.normalizers[mean], layer.normalizers[var]


def _plain(layer: SSN, rank: int) -> nn.Module:
    own_rank = layer.spatial_rank
    rank = max(rank if own_rank is None else own_rank, 1)  # (N, C) is 1D to torch
    mean, var = (_stand_ins(layer, name) for name in _choice(layer))
    eps = float(layer.eps)  # without its guard
    plain: nn.Module
    corrected = layer.correction if var != ('BN',) else 0  # torch's layers know none
    if mean != var or len(mean) > 1 or corrected:
        if 'BN' in mean + var and layer.running_mean is None:
            raise ValueError(
                f'mean {"+".join(mean)} with variance {"+".join(var)} has no running statistics '
                'of BN (track_running_stats=False), and no plain layer measures the batch in their '
                'place; train with track_running_stats=True'
            )
        plain = MixedNorm(
            *(layer.num_features, mean, var, eps, layer.num_groups), correction=corrected
        )
    elif mean == ('BN',):
        kind = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[rank - 1]
        tracks = layer.running_mean is not None
        plain = kind(layer.num_features, eps, layer.momentum, track_running_stats=tracks)
    elif mean == ('IN',):
        norm = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)[rank - 1]
        plain = norm(layer.num_features, eps, affine=True)
    else:
        groups = 1 if mean == ('LN',) else layer.num_groups
        plain = nn.GroupNorm(groups, layer.num_features, eps)
    own = layer.state_dict()
    state = {key: own.get(key, value) for key, value in plain.state_dict().items()}
    plain.to(layer.ratio_logits).load_state_dict(state)
    for name, param in plain.named_parameters():
        own_param = getattr(layer, name)
        param.requires_grad_(own_param is not None and own_param.requires_grad)
    return plain.train(layer.training)


def _stand_ins(layer: SSN, name: str) -> tuple[str, ...]:
    """The normalizer itself; on maps of one element, where it has nothing to measure, the others.

    They get its share in equal parts, see ``ssn_mm.ops.switch_norm``.
    """
    if layer.has_area:
        return (name,)
    fit = competing(layer.normalizers, (1, layer.num_features), False, layer.num_groups)
    able = tuple(n for n, fits in zip(layer.normalizers, fit, strict=True) if fits)
    return (name,) if name in able else able
