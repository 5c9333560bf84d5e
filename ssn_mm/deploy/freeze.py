"""From a trained SSN to the plain layers that it selected."""

import warnings
from collections.abc import Mapping

import torch
from torch import nn

from ..layers import MixedNorm, SwitchNorm, selecting_norms
from ..layers.fbn import NO_STATISTICS
from ..layers.mixed_norm import in_evaluation
from ..layers.plain_norm import plain_norm
from ..layers.replacing import replace_modules
from ..ops.normalizers import competing


@torch.no_grad()
def freeze(model: nn.Module, force: bool = False) -> nn.Module:
    """Replaces every SSN by the torch module that it selected, in place.

    BN and FBN become ``nn.BatchNormNd``, IN ``nn.InstanceNormNd``, LN and GN ``nn.GroupNorm``;
    where mean and variance selected different normalizers, ``MixedNorm``. In evaluation outputs
    stay the same to rounding. A layer used in several places stays one layer.

    Args:
        model: A network whose last input was of a typical size, so that its layers know the rank of
            their maps, and whether these are of one element, of which IN measures nothing;
            those that inference leaves out, as auxiliary heads, are taken to be like the others.
        force: Whether a row that has not selected yet takes its largest ratio, with a warning that
            names the ratios; outputs then differ.

    Returns:
        ``model``; its replacement where it is an SSN itself.

    Raises:
        ValueError: A layer has not selected yet, or none has seen an input; or one has BN for the
            mean or the variance alone, or FBN, without running statistics. Nothing is replaced.
    """
    layers = dict(selecting_norms(model))
    _check_selections(layers, force)
    ranks = [layer.spatial_rank for layer in layers.values() if layer.spatial_rank is not None]
    if layers and not ranks:
        raise ValueError('the model has seen no input, so the rank of its maps is unknown; run it')
    plain: dict[nn.Module, nn.Module]
    plain = {layer: _plain(layer, max(ranks)) for layer in layers.values()}
    return replace_modules(model, plain)


def _check_selections(layers: Mapping[str, SwitchNorm], force: bool) -> None:
    """Refuses layers that have not selected yet, or warns of what they become."""
    for name, layer in layers.items():
        if None not in layer.selected:
            continue
        ratios, title = layer.ratios().tolist(), name or 'the layer'
        if not force:
            raise ValueError(
                f'{title} has not selected yet, its ratios are {ratios} for {layer.normalizers}; '
                'train on until the radius reaches the circumscribed one (of another selector: set '
                'temperature 0), or take the largest ratios with force=True'
            )
        warnings.warn(
            f'{title} had not selected, its ratios {ratios} for {layer.normalizers} became '
            f'{" and ".join(_largest(layer))}',
            stacklevel=4,  # of freeze, which no_grad wraps
        )


def _largest(layer: SwitchNorm) -> tuple[str, str]:
    """Normalizers of the largest ratios, for the mean and for the variance."""
    mean, var = layer.ratios().argmax(-1).tolist()
    return layer.normalizers[mean], layer.normalizers[var]


def _plain(layer: SwitchNorm, rank: int) -> nn.Module:
    """The layer that takes an SSN's place, with its weights and statistics.

    Args:
        layer: The SSN.
        rank: Spatial rank of the maps of a layer that has seen none.
    """
    selected = _largest(layer)
    if 'FBN' in selected and layer.lacks_statistics():
        raise ValueError(f'a layer that selected {" and ".join(selected)}: {NO_STATISTICS}')
    mean, var = (in_evaluation(_stand_ins(layer, name)) for name in selected)
    if mean == var and len(mean) == 1 and not (layer.correction and mean != ('BN',)):
        plain = _torch_norm(layer, mean[0], rank)
    else:
        plain = _mixed_norm(layer, mean, var)
    own = layer.state_dict()
    state = {key: own.get(key, value) for key, value in plain.state_dict().items()}
    plain.to(layer.ratio_logits).load_state_dict(state)
    for name, param in plain.named_parameters():
        own_param = getattr(layer, name)
        param.requires_grad_(own_param is not None and own_param.requires_grad)
    return plain.train(layer.training)


def _torch_norm(layer: SwitchNorm, name: str, rank: int) -> nn.Module:
    """The layer of ``torch.nn`` that computes a normalizer, of a layer's size and options."""
    own_rank = layer.spatial_rank
    return plain_norm(
        name,
        layer.num_features,
        rank if own_rank is None else own_rank,
        float(layer.eps),  # without its guard
        layer.momentum,
        layer.num_groups,
        layer.running_mean is not None,
    )


def _mixed_norm(layer: SwitchNorm, mean: tuple[str, ...], var: tuple[str, ...]) -> MixedNorm:
    """The layer that has one set of normalizers for the mean and one for the variance.

    Raises:
        ValueError: One of them is BN, without running statistics.
    """
    if 'BN' in mean + var and layer.running_mean is None:
        raise ValueError(
            f'mean {"+".join(mean)} with variance {"+".join(var)} has no running statistics '
            'of BN (track_running_stats=False), and no plain layer measures the batch in their '
            'place; train with track_running_stats=True'
        )
    options = (layer.num_features, mean, var, float(layer.eps), layer.num_groups)
    return MixedNorm(*options, correction=layer.correction if var != ('BN',) else 0)


def _stand_ins(layer: SwitchNorm, name: str) -> tuple[str, ...]:
    """The normalizer itself; on maps of one element, where it has nothing to measure, the others.

    They get its ratio in equal parts, see ``ssn_mm.ops.switch_norm``.
    """
    if layer.has_area:
        return (name,)
    fit = competing(layer.normalizers, (1, layer.num_features), False, layer.num_groups)
    able = tuple(n for n, fits in zip(layer.normalizers, fit, strict=True) if fits)
    return (name,) if name in able else able
