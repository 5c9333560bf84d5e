"""Makes the layer that takes the place of a norm, and says what it keeps of it."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..ops.normalizers import check_groups
from .base import SwitchNorm
from .conversion import SWITCH_NORMS, Conversion, Options
from .driving import put_ratios
from .found_norm import FoundNorm, find_norm
from .plain_norm import plain_norm

_STATISTICS = ('running_mean', 'running_var', 'num_batches_tracked')
_HOOKS = (
    '_forward_hooks', '_forward_hooks_with_kwargs', '_forward_hooks_always_called',
    '_forward_pre_hooks', '_forward_pre_hooks_with_kwargs',
    '_backward_hooks', '_backward_pre_hooks',
)  # fmt: skip
_STATE_HOOKS = ('_state_dict_hooks', '_load_state_dict_pre_hooks', '_load_state_dict_post_hooks')
_NO_STATISTICS = (
    '{} needs running statistics that were measured or loaded, and it has none; unmeasured=True '
    'says that a checkpoint brings them afterwards'
)
_CONSTANTS = {'BN', 'FBN'}  # the same in evaluation


def build_norm(
    norm: FoundNorm, asked: Options, rank: int | None, near: Tensor | None, unequal: str
) -> Conversion:
    """Makes what takes the place of a norm.

    Args:
        norm: The norm.
        asked: What was asked for.
        rank: Spatial rank of its maps where its class does not tell.
        near: A tensor of the network near it, whose device and type are taken where it has none.
        unequal: What to do where no normalizer equals it.
    """
    if asked.other is not None and isinstance(norm.module, asked.other.kinds):
        return Conversion.left(norm, f'it is {asked.name} already')
    if not norm.convertible:
        # what cannot be read is refused all the same; what is no norm of maps may stay
        return (
            Conversion.left(norm, norm.reason)
            if unequal != 'refuse'
            else Conversion.refused(norm, norm.reason)
        )
    if norm.normalizer is None and unequal != 'even':
        outcome = Conversion.left if unequal == 'leave' else Conversion.refused
        return outcome(norm, f'no normalizer equals it: {norm.reason}')
    if asked.to in SWITCH_NORMS:
        return _build_switch(norm, asked, near)
    return _build_plain(norm, asked, rank, near)


def _build_switch(norm: FoundNorm, asked: Options, near: Tensor | None) -> Conversion:
    names = _omega(norm, asked)
    if 'FBN' in names and not (norm.has_statistics or asked.unmeasured):
        return Conversion.refused(norm, _NO_STATISTICS.format('FBN'))
    groups = asked.layer.get('num_groups', 32)
    if norm.normalizer == 'GN':
        groups = norm.num_groups
    if 'GN' in names:
        try:
            check_groups(norm.num_features, groups)
        except ValueError as error:
            return Conversion.refused(norm, str(error))
    kind = SWITCH_NORMS[str(asked.to)]
    affine = not norm.tensors.keys().isdisjoint(('weight', 'bias'))
    like = next((t for t in norm.tensors.values() if t.is_floating_point()), near)
    layer = kind(
        norm.num_features, names, norm.eps, norm.momentum, affine, groups,
        device=None if like is None else like.device, dtype=None if like is None else like.dtype,
        **{k: v for k, v in asked.layer.items() if k != 'num_groups'},
    )  # fmt: skip
    layer.sync = layer.sync or norm.sync
    layer.spatial_rank = norm.rank
    kept, lost = _take_tensors(layer, norm)
    ratios = _start(layer.normalizers, norm.normalizer, asked.start)
    put_ratios(layer, torch.tensor([ratios, ratios]))
    if layer.ratio_logits.is_meta:
        lost.append('ratios: there are no values on the meta device; load them after to_empty')
    same = _CONSTANTS if norm.normalizer in _CONSTANTS else {norm.normalizer}
    if layer.correction and norm.normalizer not in _CONSTANTS:
        lost.append(f'outputs: with correction=1 variances are not those of {norm.kind}')
    elif all(p == 0 or name in same for name, p in zip(layer.normalizers, ratios, strict=True)):
        kept.append('outputs')
    else:
        lost.append(f'outputs: {norm.reason or "its ratios start inside of the simplex"}')
    shown = ', '.join(f'{n} {p:.2g}' for n, p in zip(layer.normalizers, ratios, strict=True))
    return _conversion(norm, layer, f'{asked.to}({shown})', kept, lost)


def _omega(norm: FoundNorm, asked: Options) -> tuple[str, ...]:
    """The normalizers of the new layer: those asked for, and the one that it had."""
    names = asked.normalizers
    if names is None:
        names = ('IN', 'LN', 'BN', 'FBN') if norm.has_statistics else ('IN', 'LN', 'BN')
    had = norm.normalizer
    return names if had is None or had in names else (*names, had)


def _start(
    names: Sequence[str], had: str | None, start: str | float | Mapping[str, float]
) -> list[float]:
    """The ratios of a layer's normalizers; those that are not told share the rest."""
    if start == 'even' or (had is None and not isinstance(start, Mapping)):
        return [1 / len(names)] * len(names)
    told = start if isinstance(start, Mapping) else {had: 1.0 if start == 'kept' else float(start)}  # type: ignore[arg-type]
    own = {name: told[name] for name in names if name in told}
    if not own and had is not None:  # they are for other layers of the network
        own = {had: 1.0}
    rest = 1 - sum(own.values())
    others = len(names) - len(own)
    total = 1.0 if others else sum(own.values())
    if total <= 0:
        return [1 / len(names)] * len(names)
    return [own[name] / total if name in own else rest / others for name in names]


def _take_tensors(layer: nn.Module, norm: FoundNorm) -> tuple[list[str], list[str]]:
    """Gives a layer the tensors of a norm themselves; says in words what it took, and what not."""
    kept, lost = [], []
    for name, symbol in (('weight', 'γ'), ('bias', 'β')):
        own = norm.tensors.get(name)
        if own is None:
            if isinstance(layer, SwitchNorm) and layer.affine:
                layer._parameters[name].requires_grad_(False)  # type: ignore[union-attr]
                lost.append(f'{symbol}: {norm.kind} has none, so that it stays a constant')
            continue
        if name not in layer._parameters or getattr(layer, name) is None:
            lost.append(f'{symbol}: the new layer has none')
            continue
        if getattr(layer, name).shape != own.shape:
            lost.append(f'{symbol}: that of the new layer has another shape')
            continue
        # those of a frozen batch norm are constants
        layer._parameters[name] = (
            own if isinstance(own, nn.Parameter) else nn.Parameter(own, requires_grad=False)
        )
        kept.append(symbol)
    if 'running_mean' in norm.tensors:
        if layer._buffers.get('running_mean') is None:
            lost.append('running statistics: the new layer has none')
        else:
            for name in _STATISTICS:
                if name in norm.tensors:
                    layer._buffers[name] = norm.tensors[name]
            if 'num_batches_tracked' not in norm.tensors and norm.has_statistics:
                layer._buffers['num_batches_tracked'].fill_(1)  # type: ignore[union-attr]
            kept.append('running statistics')
    elif layer._buffers.get('running_mean') is not None:
        lost.append(f'running statistics start at 0 and 1: {norm.kind} has none')
    return kept, lost


def _conversion(
    norm: FoundNorm, layer: nn.Module, to: str, kept: list[str], lost: list[str]
) -> Conversion:
    """The row of a norm that becomes ``layer``, with what else it ran on its result behind it."""
    layer.train(norm.module.training)
    if norm.after:
        layer = nn.Sequential(OrderedDict(norm=layer, **norm.after))
        layer.training = norm.module.training
        to += ' + ' + ' + '.join(type(part).__name__ for part in norm.after.values())
    _take_hooks(layer, norm.module)
    if any(vars(norm.module)[name] for name in _STATE_HOOKS):
        lost.append('hooks of state_dict and load_state_dict: they may hold on to the norm')
    return Conversion(norm.module, norm.kind, to, ', '.join(kept), '; '.join(lost), layer)


def _take_hooks(layer: nn.Module, module: nn.Module) -> None:
    """Gives a layer the hooks of a module, in the same dicts, so that their handles remove them."""
    for name in _HOOKS:
        if own := vars(layer)[name]:  # of a layer that somebody's function made
            own.update(vars(module)[name])
        else:
            vars(layer)[name] = vars(module)[name]
    layer._is_full_backward_hook = module._is_full_backward_hook


def _build_plain(
    norm: FoundNorm, asked: Options, rank: int | None, near: Tensor | None
) -> Conversion:
    """Makes a norm without ratios."""
    same = norm.normalizer == {'SyncBN': 'BN'}.get(asked.name, asked.name)
    if same and norm.sync == (asked.to == 'SyncBN') and not isinstance(norm.module, SwitchNorm):
        return Conversion.left(norm, f'it is {asked.to} already')
    try:
        layer = _make_plain(norm, asked, norm.rank or rank)
    except ValueError as error:
        return Conversion.refused(norm, str(error))
    if isinstance(asked.to, str):
        found = find_norm(layer)
        if found is not None and found.normalizer == 'FBN':  # a frozen batch norm
            if not (norm.has_statistics or asked.unmeasured):
                return Conversion.refused(norm, _NO_STATISTICS.format(asked.name))
            same = norm.normalizer in _CONSTANTS
    like = next((t for t in norm.tensors.values() if t.is_floating_point()), near)
    if like is not None:
        layer.to(like.device, like.dtype)
    kept, lost = _take_tensors(layer, norm)
    (kept if same else lost).append('outputs' if same else 'outputs: it is another norm')
    if asked.other is not None and asked.other.needs:
        lost.append(asked.other.needs)
    return _conversion(norm, layer, asked.name, kept, lost)


def _make_plain(norm: FoundNorm, asked: Options, rank: int | None) -> nn.Module:
    """Makes a layer without ratios, whose numbers are those of a new one.

    Raises:
        TypeError: A function made no module.
        ValueError: The norm cannot have so many channels, or the rank of its maps is unknown.
    """
    channels, groups = norm.num_features, asked.layer.get('num_groups')
    if norm.normalizer == 'GN':
        groups = norm.num_groups
    if asked.other is not None:
        return asked.other.make(channels, 2 if rank is None else rank, norm.eps, groups)
    if callable(asked.to):
        try:
            layer: Any = asked.to(channels)
        except ValueError as error:
            raise ValueError(f'{asked.name}({channels}): {error}') from error
        if not isinstance(layer, nn.Module):
            raise TypeError(f'{asked.name}({channels}) must make a module, got {layer!r}')
        return layer
    layer = plain_norm(asked.to, channels, rank, norm.eps, norm.momentum, groups or 32)
    if norm.tensors.keys().isdisjoint(('weight', 'bias')):
        layer.register_parameter('weight', None)
        layer.register_parameter('bias', None)
    return layer


def convert_switch(layer: SwitchNorm, asked: Options, rank: int | None) -> Conversion:
    """Makes what takes the place of an SSN or SN: another kind of them, or what it selected."""
    mean, var = layer.selected
    if asked.to in SWITCH_NORMS:
        return _convert_kind(layer, asked)
    normalizer = 'BN' if {mean, var} <= _CONSTANTS else mean
    wanted = {'SyncBN': 'BN'}.get(asked.name, asked.name)
    if normalizer != wanted or (mean != var and wanted != 'BN'):
        told = 'has not selected' if None in (mean, var) else f'selected {mean} and {var}'
        return Conversion.refused(
            layer, f'it {told}; ssn_mm.deploy.freeze gives every layer what it selected'
        )
    if normalizer == 'BN' and layer.running_mean is None:
        return Conversion.refused(layer, 'it keeps no running statistics')
    return _build_plain(_read_switch(layer, normalizer), asked, rank, layer.ratio_logits)


def _convert_kind(layer: SwitchNorm, asked: Options) -> Conversion:
    """Makes an SN of an SSN, or the other way round, with the same ratios."""
    names, wanted = layer.normalizers, SWITCH_NORMS[str(asked.to)]
    if (asked.normalizers or names) != names:
        return Conversion.refused(
            layer, f'its ratios are for {", ".join(names)}; convert the network that it was made of'
        )
    if type(layer) is wanted:
        return Conversion.left(layer, f'it is {asked.to} already')
    new = wanted(
        layer.num_features, names, float(layer.eps), layer.momentum, layer.affine, layer.num_groups,
        correction=layer.correction, track_running_stats=layer.track_running_stats,
        device=layer.ratio_logits.device, dtype=layer.ratio_logits.dtype,
    )  # fmt: skip
    new.load_state_dict(layer.state_dict())
    new.sync, new.spatial_rank = layer.sync or new.sync, layer.spatial_rank
    norm = _read_switch(layer, None)
    kept, lost = _take_tensors(new, norm)
    return _conversion(norm, new, str(asked.to), [*kept, 'ratios'], lost)


def _read_switch(layer: SwitchNorm, normalizer: str | None) -> FoundNorm:
    """An SSN or SN as a norm like any other."""
    own = {**layer._parameters, **layer._buffers}
    return FoundNorm(
        module=layer,
        kind=type(layer).__name__,
        normalizer=normalizer,
        num_features=layer.num_features,
        eps=float(layer.eps),
        momentum=layer.momentum,
        num_groups=layer.num_groups,
        rank=layer.spatial_rank,
        sync=layer.sync,
        tensors={k: t for k in ('weight', 'bias', *_STATISTICS) if (t := own.get(k)) is not None},
    )
