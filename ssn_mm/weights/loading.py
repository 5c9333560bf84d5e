"""Loads a checkpoint into a network whose names, norms or dimensions may be others."""

import re
import warnings
from collections.abc import Mapping
from typing import Any

from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from ..layers import MixedNorm, SwitchNorm, switch_norms
from ..layers.mixed_norm import in_evaluation
from ..layers.state import CODES, PAIR_CODES, OtherNormWarning, decode
from ..ops.normalizers import NORMALIZERS
from ..ops.sparsestmax import sparsestmax
from .authors import from_authors, is_authors
from .loading_report import LoadingReport, explain_mismatch

_SHOWN = 3  # names that a message has
_MMCV_SYNC_BN = 'mmcv.ops.sync_bn'  # whose SyncBatchNorm ('MMSyncBN') is no _BatchNorm
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


def load_weights(model: nn.Module, state: Mapping[str, Tensor]) -> LoadingReport:
    """Gives a network what a checkpoint has for it.

    Names of torchvision, of the three libraries and of the authors' checkpoints stand for each
    other, and so do the names of norms. An SSN takes the logits of an SN with their ratios, and the
    other way round; from other norms γ, β and running statistics are taken, and logits stay. 2D
    kernels fill 3D ones: copies over T, divided by it.

    Args:
        model: The network, a wrapped one, or a part such as its backbone.
        state: Tensors by name.

    Returns:
        What became of the tensors of both.

    Raises:
        ValueError: Nothing fits.
        RuntimeError: Logits are for other normalizers than a layer's, as its state tells.
    """
    model = unwrapped(model)
    state = _rewritten(model, from_authors(state))
    by_synonym = {_synonym(key): key for key in state}
    found, report = _match(model, state, by_synonym)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', OtherNormWarning)  # the report says so
        model.load_state_dict(found, strict=False)
    for name, module in model.named_modules():
        prefix = f'{name}.' if name else ''
        logits, radius, codes = (
            state.get(by_synonym.get(_synonym(f'{prefix}{key}'), ''))
            for key in ('ratio_logits', 'radius', CODES)
        )
        if logits is not None and not _computes_selected(module, logits, radius, codes):
            report.unlike.append(name)
    return report


def _match(
    model: nn.Module, state: Mapping[str, Tensor], by_synonym: Mapping[str, str]
) -> tuple[dict[str, Tensor], LoadingReport]:
    """Finds the tensors of a state that are for a network.

    Args:
        model: The network.
        state: Tensors by the checkpoint's names.
        by_synonym: The checkpoint's names, by what they are to both sides.

    Returns:
        What to load, under the network's names and in its shapes; and a report without ``unlike``.

    Raises:
        ValueError: Nothing fits.
    """
    own = model.state_dict()
    found, report, used = {}, LoadingReport(), set()
    for key, value in _wanted(model, own).items():
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
                report.mismatched[key] = explain_mismatch(key, tensor.shape, value.shape)
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
    return found, report


def _wanted(model: nn.Module, own: Mapping[str, Tensor]) -> dict[str, Tensor | None]:
    """What a network takes from a checkpoint: its tensors by name, and names with None.

    None stands for ``radius``, ``temperature`` and ``correction`` of an SSN or SN that has no such
    tensor itself: from a checkpoint it takes them, to translate the logits and to set its option.
    """
    wanted: dict[str, Tensor | None] = dict(own)
    for name, _ in switch_norms(model):
        prefix = f'{name}.' if name else ''
        keys = [f'{prefix}{key}' for key in ('radius', 'temperature', 'correction')]
        wanted |= {key: own.get(key) for key in keys}
    return wanted


def concerns_switch_norms(module: nn.Module, state: Mapping[str, Tensor]) -> bool:
    """Whether SSN or SN is on either side, so that :func:`load_weights` has to load."""
    return (
        any(switch_norms(module))
        or is_authors(state)
        or any(key.endswith('ratio_logits') for key in state)
    )


def load_logged(
    module: nn.Module, state: Mapping[str, Tensor], strict: bool = False, logger: Any = None
) -> None:
    """Loads by :func:`load_weights` as mmengine's ``load_state_dict`` does, and logs the report.

    Args:
        module: The network.
        state: Tensors by name.
        strict: Whether the network and the state must each have all names of the other.
        logger: mmengine's logger, or its name; None is the current one.

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
    """A network without its wrappers, such as DDP or a model for test-time augmentation."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model


def _synonym(key: str) -> str:
    for pattern, name in _SYNONYMS:
        key = re.sub(pattern, name, key)
    return key


def _rewritten(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state as modules rewrite it in the hooks that PyTorch runs before it loads them.

    Networks so bring positional embeddings to another resolution, and take earlier names.
    """
    state = dict(state)
    for name, module in model.named_modules():
        for hook in module._load_state_dict_pre_hooks.values():
            hook(state, f'{name}.' if name else '', {}, False, [], [], [])
    return state


def _has_codes(state: Mapping[str, Tensor], key: str) -> bool:
    """Whether a state names the normalizers that logits are for, so that the layer judges them."""
    codes = state.get(key.removesuffix('ratio_logits') + CODES)
    return (
        codes is not None and key.endswith('ratio_logits') and codes.size(-1) == state[key].size(-1)
    )


def _inflate(tensor: Tensor, like: Tensor) -> Tensor | None:
    """The 3D kernel that gives a video of equal frames what the 2D kernel gives the picture.

    Args:
        tensor: The 2D kernel, (out, in, height, width).
        like: The network's kernel, (out, in, frames, height, width).

    Returns:
        The kernel in the shape of ``like``; None where the two are no such pair.
    """
    if tensor.dim() != 4 or like.dim() != 5:
        return None
    if like.shape != (*tensor.shape[:2], like.size(2), *tensor.shape[2:]):
        return None
    return tensor.unsqueeze(2).expand_as(like) / like.size(2)


def _computes_selected(
    module: nn.Module, logits: Tensor, radius: Tensor | None, codes: Tensor | None
) -> bool:
    """Whether a module computes what logits of a checkpoint have selected, or takes them.

    Args:
        module: What the network has in the place of the logits' layer.
        logits: The checkpoint's, (2, K).
        radius: Their radius; None for those of an SN.
        codes: What the logits are for, (3, K); without it NORMALIZERS in order.
    """
    if isinstance(module, SwitchNorm):
        return True
    own = _stands_for(module)
    if radius is None or own is None:
        return False
    names, groups, _ = (NORMALIZERS, 0, True) if codes is None else decode(codes)
    rows = (sparsestmax(logits.float(), radius.float()) == 1).tolist()
    selected = [names[row.index(True)] if True in row else '' for row in rows]
    return in_evaluation(selected[:1]) + in_evaluation(selected[1:]) == own[0] and (
        'GN' not in selected or groups in (0, own[1])
    )


def _stands_for(module: nn.Module) -> tuple[tuple[str, str], int] | None:
    """Normalizers of the mean and the variance of a norm without ratios, and GN's groups."""
    if isinstance(module, MixedNorm):
        one = len(module.mean) == len(module.var) == 1
        return ((module.mean[0], module.var[0]), module.num_groups) if one else None
    if isinstance(module, nn.GroupNorm):
        name = 'LN' if module.num_groups == 1 else 'GN'
        return (name, name), module.num_groups
    if isinstance(module, _BatchNorm) or type(module).__module__ == _MMCV_SYNC_BN:
        return ('BN', 'BN'), 0
    if isinstance(module, _InstanceNorm):
        return ('IN', 'IN'), 0
    return None
