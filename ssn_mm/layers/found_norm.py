"""Reads a normalization layer of torch, torchvision, timm or OpenMMLab as one record."""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import is_parametrized

from .base import SwitchNorm
from .sharded import has_values, is_sharded

# classes of these modules compute what the class of torch computes that they derive from
_SAME_FORWARD = ('torch.nn.modules', 'timm.layers.norm', 'timm.layers.norm_act')
_MMCV_SYNC_BN = 'mmcv.ops.sync_bn'  # whose SyncBatchNorm ('MMSyncBN') is no _BatchNorm
_NO_NORMALIZERS = ('LocalResponseNorm', 'CrossMapLRN2d')  # they learn nothing, and have no channels
_NAME_OF_NORM = re.compile(
    r'Norm1?(Act|Tlu)?([123]d)?(Fp32|[A-Z]\w?\w?)?$|^(InPlace|Inplace)A(BN|bn)(Sync)?$|^(FRN|DyT|ChannelRMS)$'
)
_FROZEN = ('FrozenBatchNorm', 'FrozenBN')  # in the names of batch norms whose numbers are constants
_PARTS = {'drop', 'act'}  # of timm's norms, run in this order on their result


@dataclass(frozen=True, kw_only=True, eq=False)
class FoundNorm:
    """A normalization layer of a network, and what another one may keep of it.

    Attributes:
        module: The layer.
        kind: Its class, as people call it: 'BatchNorm2d'.
        normalizer: The normalizer, such as 'BN', that computes the same in training and evaluation;
            None if none does.
        reason: Why no normalizer does, or why the layer cannot be taken out of its network.
        convertible: Whether another norm may take its place at all: its maps are (N, C, *spatial),
            and all of its numbers can be read.
        num_features: C.
        eps: ε.
        momentum: Weight of a batch in the running statistics.
        num_groups: GN's number of groups.
        rank: Spatial rank of its maps; None if the class does not tell.
        sync: Whether its batch spans all processes.
        tensors: γ (``weight``), β (``bias``) and running statistics by name, those that it has.
        after: Modules by name that it runs on its result: dropout and activation.
    """

    module: nn.Module
    kind: str
    normalizer: str | None = None
    reason: str = ''
    convertible: bool = True
    num_features: int = 0
    eps: float = 1e-5
    momentum: float | None = 0.1
    num_groups: int = 0
    rank: int | None = None
    sync: bool = False
    tensors: dict[str, Tensor] = field(default_factory=dict)
    after: dict[str, nn.Module] = field(default_factory=dict)

    @property
    def has_statistics(self) -> bool:
        """Whether running statistics are there and were measured or loaded."""
        mean, var = self.tensors.get('running_mean'), self.tensors.get('running_var')
        if mean is None or var is None or not has_values(mean):
            return False
        count = self.tensors.get('num_batches_tracked')
        if count is not None and count > 0:
            return True
        return bool((mean != 0).any() or (var != 1).any())


def find_norm(module: nn.Module) -> FoundNorm | None:
    """Reads a module as a normalization layer; None if it is none, or is SSN or SN."""
    kind = type(module).__name__
    if isinstance(module, torch.jit.ScriptModule):
        return _refused_part(
            module, module.original_name, 'it is scripted; convert before scripting'
        )
    if type(module).__module__.startswith(('torch.ao.nn', 'torch.nn.quantized', 'torch.nn.qat')):
        return _refused_part(
            module, kind, 'it is quantized, or prepared for it; convert before quantizing'
        )
    if kind == 'OptimizedModule' and (own := find_norm(module._orig_mod)):  # type: ignore[arg-type]
        reason = 'it is compiled by itself; convert before torch.compile'
        return FoundNorm(module=module, kind=own.kind, reason=reason, convertible=False)
    if isinstance(module, SwitchNorm) or not _has_name_of_norm(module, kind):
        return None
    if any(name in kind for name in _FROZEN):
        return _read_frozen(module, kind)
    reader = next((read for kinds, read in _READERS if isinstance(module, kinds)), None)
    if reader is None:
        return _read_by_name(module, kind)
    if refusal := _unreadable(module):
        return FoundNorm(module=module, kind=kind, reason=refusal, convertible=False)
    return reader(module, kind)


def _refused_part(module: nn.Module, kind: str, reason: str) -> FoundNorm | None:
    """A part that some tool has made of a network: a norm's are refused, others are no norms."""
    if 'Norm' not in kind and 'BN' not in kind and 'Bn' not in kind:
        return None
    return FoundNorm(module=module, kind=kind, reason=reason, convertible=False)


def _has_name_of_norm(module: nn.Module, kind: str) -> bool:
    if isinstance(module, tuple(known for kinds, _ in _READERS for known in kinds)):
        return True
    if kind in _NO_NORMALIZERS or not _NAME_OF_NORM.search(kind):
        return False
    if type(module).__module__.startswith('torch.nn.utils'):  # spectral and weight norm
        return False
    return {name for name, _ in module.named_children()} <= _PARTS  # else a block


def _unreadable(module: nn.Module) -> str:
    """Why the numbers of a norm, or what it does with them, are not those of its class."""
    if any(is_lazy(t) for t in (*module.parameters(False), *module.buffers(False))):
        return 'it is lazy and has not seen its first input; run the network once, then convert'
    if is_parametrized(module):
        return (
            'its parameters are parametrized; remove it first with '
            'torch.nn.utils.parametrize.remove_parametrizations'
        )
    if any(is_sharded(t) for t in (*module.parameters(False), *module.buffers(False))):
        return 'it is sharded; convert before fully_shard'
    for name in ('weight', 'bias'):
        if isinstance(getattr(module, name, None), Tensor) and not (
            name in module._parameters or name in module._buffers
        ):
            return (
                f'its {name} is computed (weight_norm, spectral_norm or pruning); remove that first'
            )
    if 'activation_post_process' in module._modules:
        return 'it is observed for quantization; convert before preparing the network for it'
    same = type(module).__module__.startswith(_SAME_FORWARD)
    inherited = type(module).forward in (
        _BatchNorm.forward, nn.SyncBatchNorm.forward, nn.GroupNorm.forward,
        _InstanceNorm.forward, nn.LayerNorm.forward,
    )  # fmt: skip
    # of a channel-wise layer norm the forward pass is not looked at, since no normalizer equals it
    known = same or inherited or isinstance(module, nn.LayerNorm) or _is_mmcv_sync_bn(module)
    if 'forward' in vars(module) or not known:
        return f'{type(module).__qualname__} has a forward pass of its own'
    return ''


def _is_mmcv_sync_bn(module: nn.Module) -> bool:
    return type(module).__module__ == _MMCV_SYNC_BN


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    own = {**module._parameters, **module._buffers}
    names = ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')
    return {name: t for name in names if (t := own.get(name)) is not None}


def _after(module: nn.Module) -> dict[str, nn.Module]:
    """Dropout and activation of timm's layers, without those that do nothing."""
    return {
        name: part
        for name, part in module.named_children()
        if name in _PARTS and not isinstance(part, nn.Identity)
    }


def _rank(module: nn.Module, kind: str) -> int | None:
    """The spatial rank that a class has in its name; a 1d norm takes (N, C), too."""
    return next((rank for rank in (1, 2, 3) if f'{rank}d' in kind), None)


def _read_batch_norm(module: nn.Module, kind: str) -> FoundNorm:
    tensors, normalizer, reason = _tensors(module), 'BN', ''
    tracks = getattr(module, 'track_running_stats', True)
    group = getattr(module, 'process_group', None)
    if 'running_mean' not in tensors or not tracks:
        normalizer, reason = '', 'it keeps no running statistics (track_running_stats=False)'
    if group is not None and group is not torch.distributed.group.WORLD:
        normalizer, reason = '', 'its batch spans a process group of its own'
    return FoundNorm(
        module=module,
        kind=kind,
        normalizer=normalizer or None,
        reason=reason,
        num_features=module.num_features,  # type: ignore[arg-type]
        eps=module.eps,  # type: ignore[arg-type]
        momentum=module.momentum,  # type: ignore[arg-type]
        rank=_rank(module, kind),
        sync=isinstance(module, nn.SyncBatchNorm) or _is_mmcv_sync_bn(module),
        tensors=tensors,
        after=_after(module),
    )


def _read_group_norm(module: nn.GroupNorm, kind: str) -> FoundNorm:
    channels, groups = module.num_channels, module.num_groups
    return FoundNorm(
        module=module,
        kind=kind,
        normalizer={1: 'LN', channels: 'IN'}.get(groups, 'GN'),
        num_features=channels,
        eps=module.eps,
        num_groups=groups,
        tensors=_tensors(module),
        after=_after(module),
    )


def _read_instance_norm(module: _InstanceNorm, kind: str) -> FoundNorm:
    tracks = module.track_running_stats
    return FoundNorm(
        module=module,
        kind=kind,
        normalizer=None if tracks else 'IN',
        reason='it evaluates by running statistics of instances' if tracks else '',
        num_features=module.num_features,
        eps=module.eps,
        rank=_rank(module, kind),
        tensors={k: t for k, t in _tensors(module).items() if k in ('weight', 'bias')},
    )


def _read_layer_norm(module: nn.LayerNorm, kind: str) -> FoundNorm:
    on_maps, reason = (
        '2d' in kind or kind == 'ChannelLN',
        'it measures the channels of every pixel by itself',
    )
    options = list(inspect.signature(module.forward).parameters)[1:]
    if not on_maps:
        reason = 'its channels are the last dimension, not the second'
    elif options:
        on_maps, reason = False, f'its forward pass takes {options[0]}, as SSN does not'
    return FoundNorm(
        module=module,
        kind=kind,
        reason=reason,
        convertible=on_maps,
        num_features=module.normalized_shape[-1],
        eps=module.eps,
        rank=2 if on_maps else None,
        tensors=_tensors(module),
        after=_after(module),
    )


def _read_frozen(module: nn.Module, kind: str) -> FoundNorm:
    """Reads a batch norm of constants, of which the libraries share the name alone."""
    tensors, reason = _tensors(module), ''
    if not {'running_mean', 'running_var'} <= tensors.keys():
        reason = 'it has no running_mean and running_var'
    elif not isinstance(getattr(module, 'eps', None), float | int):  # DETR writes it into forward
        reason = 'its ε is not known, since it has no eps; set it (module.eps = 1e-5), then convert'
    if reason:
        return FoundNorm(module=module, kind=kind, reason=reason, convertible=False)
    return FoundNorm(
        module=module,
        kind=kind,
        normalizer='FBN',
        num_features=len(tensors['running_mean']),
        eps=float(module.eps),  # type: ignore[arg-type]
        rank=_rank(module, kind),
        tensors=tensors,
        after=_after(module),
    )


def _read_by_name(module: nn.Module, kind: str) -> FoundNorm:
    """Reads mmcv's synchronized batch norm; of other norms that torch has not, nothing is known."""
    if _is_mmcv_sync_bn(module) and {'running_mean', 'running_var'} <= _tensors(module).keys():
        return _read_batch_norm(module, kind)
    reason = 'it is no norm that SSN has, and how it lays out its maps is not known'
    return FoundNorm(module=module, kind=kind, reason=reason, convertible=False)


_READERS: list[tuple[tuple[type, ...], Callable]] = [
    ((_BatchNorm,), _read_batch_norm),
    ((nn.GroupNorm,), _read_group_norm),
    ((_InstanceNorm,), _read_instance_norm),
    ((nn.LayerNorm,), _read_layer_norm),
]
