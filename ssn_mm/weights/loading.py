"""What a checkpoint gives to a network whose names, norms or dimensions may differ from its own."""

import logging
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from ..layers import MixedNorm, SwitchNorm, switch_norms
from ..layers.state import CODES, PAIR_CODES, OtherNormWarning, decode
from ..ops.normalizers import NORMALIZERS
from ..ops.sparsestmax import sparsestmax
from .authors import from_published, is_published

_SHOWN = 3  # names of a kind that a log line has
# what other libraries, and mmcv's ConvModule, call the parts of a ResNet
_SYNONYMS = (
    (r'(^|\.)_orig_mod\.', r'\1'),
    (r'^module\.', ''),
    (r'^backbone\.', ''),
    (r'^head\.fc\.', 'fc.'),
    (r'(^|\.)(conv\d+)\.conv\.(?:net\.)?', r'\1\2.'),
    (r'(^|\.)conv(\d+)\.(?:bn|gn|in|ln)\.', r'\1bn\2.'),
    (r'(^|\.)downsample\.conv\.', r'\1downsample.0.'),
    (r'(^|\.)downsample\.(?:bn|gn|in|ln)\.', r'\1downsample.1.'),
    (r'(^|\.)(?:gn|in|ln)(\d*)\.', r'\1bn\2.'),
)
_CLASSIFIERS = ('fc', 'fc_cls', 'conv_seg', 'classifier')


@dataclass
class Loading:
    """What became of a checkpoint's tensors and of a network's.

    Attributes:
        loaded: Names, the network's.
        initial: Those of the network that keep their initial value.
        ignored: Those of the checkpoint that the network does not have.
        mismatched: Name of the network's and why its shape does not fit.
        unlike: Plain norms of the network in the place of an SSN or SN that is another norm, or
            has not chosen.
        corrected: The option of published layers, where it was taken.
    """

    loaded: list[str] = field(default_factory=list)
    initial: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    mismatched: dict[str, str] = field(default_factory=dict)
    unlike: list[str] = field(default_factory=list)
    corrected: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f'{len(self.loaded)} tensors loaded']
        for count, names in (
            ('left at their initial value', self.initial),
            ('of the checkpoint ignored', self.ignored),
        ):
            if names:
                lines.append(f'{len(names)} {count}: {_by_kind(names)}')
        lines += [f'{name} does not fit: {why}' for name, why in self.mismatched.items()]
        if self.unlike:
            lines.append(
                f'{len(self.unlike)} plain norms are not what the SSN or SN in their place learned '
                f'to be ({", ".join(self.unlike[:_SHOWN])}, ...), so outputs differ'
            )
        if self.corrected:
            lines.append(
                f'{len(self.corrected)} layers have the published variance (correction=1), with '
                'which training is several times slower'
            )
        return '; '.join(lines)

    def log(self, logger: Any = 'current') -> None:
        """Says it in a line of the log, a warning where shapes do not fit."""
        level = logging.WARNING if self.mismatched or self.unlike else logging.INFO
        print_log(f'Checkpoint: {self}', logger, level)


def load_weights(model: nn.Module, state: Mapping[str, Tensor]) -> Loading:
    """Gives a network what a checkpoint has for it.

    Names of torchvision, of the three libraries, and of the published SN and SSN stand for each
    other, and so do the names of norms. SSN takes SN's logits with their ratios, SN takes
    SSN's; from other norms γ, β and running statistics are taken and logits stay. 2D kernels
    fill 3D ones: copies over T, divided by it.

    Args:
        model: The network, a wrapped one, or a part such as its backbone.
        state: Tensors by name.

    Returns:
        What was done.

    Raises:
        ValueError: Nothing fits.
        RuntimeError: Logits are for other normalizers than a layer's, as its state tells.
    """
    model = unwrapped(model)
    state = _rewritten(model, from_published(state))
    own = model.state_dict()
    wanted: dict[str, Tensor | None] = dict(own)
    for name, module in model.named_modules():
        if isinstance(module, SwitchNorm):  # what it understands beyond its own
            prefix = f'{name}.' if name else ''
            wanted |= {f'{prefix}{k}': own.get(f'{prefix}{k}') for k in ('radius', 'correction')}
    by_synonym = {_synonym(key): key for key in state}
    found, report, used = {}, Loading(), set()
    for key, value in wanted.items():
        source = key if key in state else by_synonym.get(_synonym(key))
        if source is None:
            if value is not None and not key.endswith((CODES, PAIR_CODES)):
                report.initial.append(key)
            continue
        used.add(source)
        tensor = state[source]
        if key.endswith(CODES):  # what they say is for the layer to judge
            found[key] = tensor
            continue
        if value is not None and tensor.shape != value.shape and not _has_codes(state, source):
            inflated = _inflate(tensor, value)
            if inflated is None:
                report.mismatched[key] = _explain(key, tensor.shape, value.shape)
                continue
            tensor = inflated
        found[key] = tensor
        report.loaded.append(key)
    report.ignored = [key for key in state if key not in used]
    if not report.loaded:
        mismatch = ''.join(f'; {k}: {v}' for k, v in list(report.mismatched.items())[:_SHOWN])
        raise ValueError(
            f'the checkpoint has nothing for this network: its first names are '
            f'{list(state)[:_SHOWN]}, the network has {list(own)[:_SHOWN]}{mismatch}'
        )
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', OtherNormWarning)  # the report says so
        model.load_state_dict(found, strict=False)
    report.corrected = [key for key in report.loaded if key.endswith('correction')]
    for name, module in model.named_modules():
        prefix = f'{name}.' if name else ''
        logits, radius, codes = (
            state.get(by_synonym.get(_synonym(f'{prefix}{key}'), ''))
            for key in ('ratio_logits', 'radius', CODES)
        )
        if logits is not None and not _is_chosen(module, logits, radius, codes):
            report.unlike.append(name)
    return report


def concerns_switch_norms(module: nn.Module, state: Mapping[str, Tensor]) -> bool:
    """Whether SSN or SN is on either side, so that :func:`load_weights` has to load."""
    return (
        any(switch_norms(module))
        or is_published(state)
        or any(key.endswith('ratio_logits') for key in state)
    )


def load_logged(
    module: nn.Module, state: Mapping[str, Tensor], strict: bool = False, logger: Any = None
) -> None:
    """Loads as mmengine's ``load_state_dict`` does, by :func:`load_weights`, and logs the report.

    Args:
        module: The network.
        state: Tensors by name.
        strict: Whether both must have all of the other's names.
        logger: mmengine's, or its name; None is the current one.

    Raises:
        RuntimeError: ``strict``, and they do not match.
        ValueError: Nothing fits.
    """
    report = load_weights(module, state)
    optional = ['num_batches_tracked']
    if not any(key.endswith('ratio_logits') for key in report.loaded):  # of another norm
        optional += ['ratio_logits', 'radius']
    missing = [key for key in report.initial if key.rpartition('.')[2] not in optional]
    if strict and (missing or report.ignored or report.mismatched):
        raise RuntimeError(f'The checkpoint and the network do not match exactly: {report}')
    report.log(logger or 'current')


def unwrapped(model: Any) -> nn.Module:
    """A network without what wraps it: a distributed wrapper, averaging over views."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model


def _synonym(key: str) -> str:
    for pattern, name in _SYNONYMS:
        key = re.sub(pattern, name, key)
    return key


def _rewritten(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state after modules had their way with it, as PyTorch lets them before they load it.

    They bring positional embeddings to another resolution, and take names of before.
    """
    state = dict(state)
    for name, module in model.named_modules():
        for hook in module._load_state_dict_pre_hooks.values():
            hook(state, f'{name}.' if name else '', {}, False, [], [], [])
    return state


def _has_codes(state: Mapping[str, Tensor], key: str) -> bool:
    """Whether these are logits of which the state tells whose they are: the layer then judges."""
    codes = state.get(key.removesuffix('ratio_logits') + CODES)
    return (
        codes is not None and key.endswith('ratio_logits') and codes.size(-1) == state[key].size(-1)
    )


def _inflate(tensor: Tensor, like: Tensor) -> Tensor | None:
    """A 2D kernel's 3D one, so that a video of equal frames gives what the picture gives."""
    if tensor.dim() != 4 or like.dim() != 5:
        return None
    if like.shape != (*tensor.shape[:2], like.size(2), *tensor.shape[2:]):
        return None
    return tensor.unsqueeze(2).expand_as(like) / like.size(2)


def _explain(key: str, theirs: torch.Size, own: torch.Size) -> str:
    shapes = f'{tuple(theirs)} in the checkpoint, {tuple(own)} in the network'
    *_, layer, name = ('', *key.split('.'))
    if name == 'ratio_logits':
        cause = 'other normalizers, see norm_cfg'
    elif layer in _CLASSIFIERS and theirs[1:] == own[1:]:
        cause = 'another number of classes'
    elif len(theirs) != len(own):
        cause = f'a network of {len(theirs) - 2}D maps' if len(theirs) > 3 else 'another layer'
    elif len(own) > 3 and theirs[2:] != own[2:]:
        cause = 'another kernel size'
    elif len(own) > 1 and theirs[0] == own[0]:
        cause = 'another number of input channels, or a block of another width or depth'
    else:
        cause = 'another width or depth'
    return f'{shapes}: {cause}'


def _by_kind(names: list[str]) -> str:
    """'53 ratio_logits (bn1, layer1.0.bn1, ...), fc.bias'."""
    kinds: dict[str, list[str]] = {}
    for name in names:
        kinds.setdefault(name.rpartition('.')[2], []).append(name)
    shown = []
    for kind, own in kinds.items():
        if len(own) <= _SHOWN:
            shown += own
        else:
            layers = ', '.join(name.rpartition('.')[0] for name in own[:_SHOWN])
            shown.append(f'{len(own)} {kind} ({layers}, ...)')
    return ', '.join(shown)


def _is_chosen(
    module: nn.Module, logits: Tensor, radius: Tensor | None, codes: Tensor | None
) -> bool:
    """Whether a module is what logits say, which without codes are for IN, LN, BN, GN in order."""
    if isinstance(module, SwitchNorm):
        return True
    own = _stands_for(module)
    if radius is None or own is None:
        return False
    names, groups, _ = (NORMALIZERS, 0, True) if codes is None else decode(codes)
    rows = (sparsestmax(logits.float(), radius.float()) == 1).tolist()
    chosen = tuple(names[row.index(True)] if True in row else '' for row in rows)
    return chosen == own[0] and ('GN' not in chosen or groups in (0, own[1]))


def _stands_for(module: nn.Module) -> tuple[tuple[str, str], int] | None:
    """Normalizers of the mean and the variance of a norm without ratios, and GN's groups."""
    if isinstance(module, MixedNorm):
        one = len(module.mean) == len(module.var) == 1
        return ((module.mean[0], module.var[0]), module.num_groups) if one else None
    if isinstance(module, nn.GroupNorm):
        name = 'LN' if module.num_groups == 1 else 'GN'
        return (name, name), module.num_groups
    for kind, name in ((_BatchNorm, 'BN'), (_InstanceNorm, 'IN')):
        if isinstance(module, kind):
            return (name, name), 0
    return None
