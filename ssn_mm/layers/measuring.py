"""What normalization layers measure of a map in evaluation, and the same by other statistics.

Batch norm measures nothing then: its statistics are constants. IN, LN and GN measure the map that
they are given, so that a part of a picture is normalized by other numbers than the whole.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..ops.backends.reference import mix_moments
from ..ops.moments import Moments, instance_moments
from ..ops.norm import Norm, PerChannel
from ..ops.normalizers import fitting, hand_over
from .base import SwitchNorm
from .found_norm import find_norm
from .mixed_norm import MixedNorm

AUXILIARY = ('auxiliary_head', 'aux_classifier')  # of mmsegmentation and torchvision
TILES_CHANGE = 'sliding windows change labels'  # how a warning of them begins


@dataclass(frozen=True, eq=False)
class MeasuringNorm:
    """A normalization layer in evaluation as Eq. 1, whose statistics may come from elsewhere.

    Attributes:
        norm: The description. BN measures the batch here; one with running statistics is FBN.
        ratios: The importance ratios, (2, K); row 0 for the mean, row 1 for the variance.
        channels: γ, β and the running statistics, (C,).
        after: What the layer runs on its result, as activations of timm's norms.
    """

    norm: Norm
    ratios: Tensor
    channels: PerChannel
    after: Mapping[str, nn.Module] = field(default_factory=dict)

    @property
    def measures(self) -> str:
        """The normalizers that measure: 'LN'; 'IN, BN' for mean and variance; '' if none does."""
        rows = [
            '+'.join(
                'BN' if name == 'FBN' else name
                for name, ratio in zip(self.norm.normalizers, row, strict=True)
                if ratio > 0
            )
            for row in self.ratios.tolist()
        ]
        measured = any(
            name != 'FBN' and max(column) > 0
            for name, column in zip(self.norm.normalizers, self.ratios.T.tolist(), strict=True)
        )
        return ', '.join(dict.fromkeys(rows)) if measured else ''

    def moments(self, x: Tensor) -> Moments:
        """Mean and variance by which the layer normalizes ``x`` (N, C, *spatial): (N or 1, C or 1).

        As in the layers, what has one element per statistic hands its ratio over to the others.
        """
        norm, ratios, (mean, var) = self.norm, self.ratios, instance_moments(x)
        if norm.correction and (area := math.prod(x.shape[2:])) > 1:
            var = var * (area / (area - 1))
        fit = fitting(norm.normalizers, x.shape, True, norm.num_groups)
        if not all(fit):
            ratios, names = hand_over(ratios, norm.normalizers, fit)
            norm = norm._replace(normalizers=names)
        own = mix_moments((mean, var), x.numel() // x.size(1), ratios, norm, self.channels)
        return own[0]

    def normalize(self, x: Tensor, moments: Moments) -> Tensor:
        """The layer's result for ``x`` (N, C, *spatial), had it measured these moments.

        Raises:
            ValueError: The moments are those of several pictures, and ``x`` has another number.
        """
        pictures = max(moment.size(0) for moment in moments)
        if pictures not in (1, x.size(0)):
            raise ValueError(
                f'the statistics are of {pictures} pictures and the batch has {x.size(0)}; give '
                'those of one picture, or run as many tiles at once as there are pictures'
            )
        mean, var = (moment[(...,) + (None,) * (x.dim() - 2)] for moment in moments)
        y = (x.to(mean.dtype) - mean) * torch.rsqrt(var + self.norm.eps)
        shape = (1, -1, *[1] * (x.dim() - 2))
        if self.channels.weight is not None:
            y = y * self.channels.weight.to(y).view(shape)
        if self.channels.bias is not None:
            y = y + self.channels.bias.to(y).view(shape)
        y = y.to(x.dtype)
        for part in self.after.values():
            y = part(y)
        return y


def layers_that_measure(model: nn.Module) -> dict[str, str]:
    """Names the layers that measure their input in evaluation, so that a tile changes its labels.

    These are SSN and SN layers with a ratio of IN, LN or GN above 0, the plain layers and
    ``MixedNorm`` that ``freeze`` makes of them, and IN, LN and GN of PyTorch, mmcv and timm; and
    batch norm without running statistics. Layer norms on the channels of each pixel measure no
    map. Of norms that are none of these, as of other layers, nothing is said. Auxiliary heads,
    which inference leaves out, are passed over.

    Args:
        model: Any network, or a layer itself.

    Returns:
        What each measures, by its name: 'LN', or 'IN, BN' where mean and variance differ.
    """
    return {name: layer.measures for name, layer in measuring_norms(model).items()}


def warn_of_tiles(measuring: Mapping[str, str]) -> None:
    """Warns that sliding windows change labels, if there are layers that measure.

    Args:
        measuring: What :func:`layers_that_measure` returned.
    """
    if not measuring:
        return
    few = '; '.join(f'{name} {what}' for name, what in list(measuring.items())[:3])
    more = '; ...' if len(measuring) > 3 else ''
    warnings.warn(
        f'{TILES_CHANGE}: {len(measuring)} norms measure the window that they are given ({few}'
        f"{more}). If that is not wanted: test_cfg mode='whole', larger windows, or train these "
        'layers with BN; tools/deploy.py --verify --slide tells how many labels each changes',
        stacklevel=3,
    )


def measuring_norms(model: nn.Module) -> dict[str, MeasuringNorm]:
    """The layers of :func:`layers_that_measure`, as they evaluate, by name."""
    found = {}
    for name, module in model.named_modules():
        if set(name.split('.')).isdisjoint(AUXILIARY):
            layer = _read(module)
            if layer is not None and layer.measures:
                found[name] = layer
    return found


def _read(module: nn.Module) -> MeasuringNorm | None:
    """Reads a module as it normalizes in evaluation; None if it is no norm, or an unknown one."""
    if isinstance(module, SwitchNorm | MixedNorm):
        tensors = {**module._parameters, **module._buffers}
        options: tuple = (float(module.eps), module.num_groups, False, module.correction)
        if isinstance(module, SwitchNorm):
            return _as_read(module.normalizers, module.ratios().detach(), options, tensors)
        rows = module.mean, module.var
        names = tuple(dict.fromkeys(module.mean + module.var))
        shares = [[row.count(name) / len(row) for name in names] for row in rows]
        return _as_read(names, torch.tensor(shares).to(module.weight), options, tensors)
    found = find_norm(module)
    name = None if found is None else found.normalizer
    if isinstance(module, _BatchNorm) and module.running_mean is None:
        name = 'BN'
    if found is None or name is None:
        return None
    options = float(found.eps), found.num_groups or 1
    return _as_read((name,), torch.ones(2, 1), options, found.tensors, found.after)


def _as_read(
    names: Sequence[str],
    ratios: Tensor,
    options: tuple,
    tensors: Mapping[str, Tensor | None],
    after: Mapping[str, nn.Module] | None = None,
) -> MeasuringNorm:
    """Puts together what was read; BN with running statistics gets the name that ops have for it.

    Args:
        names: K normalizers.
        ratios: Their ratios, (2, K).
        options: What a :class:`Norm` has after its normalizers.
        tensors: Parameters and buffers of the layer by name.
        after: What it runs on its result.
    """
    channels = PerChannel(*(tensors.get(name) for name in PerChannel._fields))
    if channels.running_mean is not None:
        names = ['FBN' if name == 'BN' else name for name in names]
    return MeasuringNorm(Norm(tuple(names), *options), ratios, channels, after or {})
