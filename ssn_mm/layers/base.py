"""The base class of the normalization layers SSN and SN."""

import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensor

from ..ops.norm import Logits, Norm, PerChannel
from ..ops.normalizers import (
    check_groups,
    check_normalizers,
    competing,
    has_area,
    without_elements,
    world_size,
)
from ..ops.switch_norm import normalize
from ..ops.tracing import is_recomputing, is_transformed
from .eps import EpsOfLayer
from .fbn import RunningStatistics
from .sharded import has_values, is_whole
from .state import CODES, RATIO_KEYS, add_once, encode, take_order, warn_of_other_norm
from .symbolic import as_one_call, check_batched, is_symbolic, refuse_script


class SwitchNorm(RunningStatistics):
    """Eq. 1 with learned ratios; SSN and SN say how logits become ratios.

    Args:
        num_features: C of the (N, C, *spatial) input, spatial of rank 0 to 3.
        normalizers: At least two different names out of 'IN', 'LN', 'BN', 'GN', 'FBN', which is
            batch norm by the running statistics, as constants, in training too.
        eps: ε, added to the variance.
        momentum: Weight of the new batch in the running statistics, as in ``nn.BatchNorm2d``;
            None averages over all batches.
        affine: Whether γ (``weight``) and β (``bias``), one a channel, are learned.
        num_groups: GN's number of groups of channels; divides ``num_features``.
        sync: Whether BN measures the joint batch of all processes.
        correction: 1 for the unbiased variance of the authors' layers, several times slower, which
            their checkpoints set; 0 for the variance of torch's layers.
        track_running_stats: Whether BN has running statistics in evaluation; FBN needs them.
        update_fbn: Whether each training step updates the running statistics with its batch,
            before FBN uses them, whatever the ratios are. Without, a statistic is a constant while
            FBN has a ratio above 0 in its row, the mean's or the variance's, and else BN updates
            it; and it has to be there when training begins, see :meth:`lacks_statistics`.
        selector: How logits become ratios: None is the class's own way; SSN takes others.
        device: Device of parameters and buffers.
        dtype: Type of parameters and of floating-point buffers.

    Attributes:
        ratio_logits: Parameter (2, K), starts at 1; row 0 for means, row 1 for variances.
        normalizer_codes: Integer buffer (3, K) that says what the logits are for, see
            :func:`.state.encode`. Loading brings logits into the layer's order, which that of a
            state without the buffer is taken to be; those for other normalizers are an error.
        spatial_rank: Spatial rank of the last input; None before the first.
        has_area: Whether the last input had more than one element per (n, c).

    Raises:
        ValueError: Names, groups or options do not fit, later the input's shape; or FBN is to train
            without statistics.

    Running statistics are updated once per training step, under activation checkpointing too.
    """

    normalizer_codes: Tensor
    _eps: float

    eps = EpsOfLayer()  # added to the variance
    selector = 'softmax'
    _kind = 0  # what makes ratios of the logits, see ``state.encode``
    _source = 'ratios'  # what ops are given, see ``ops.Norm``
    _abbr_ = 'bn'  # the name that OpenMMLab's networks, and so BN checkpoints, give the layer

    def __init__(
        self,
        num_features: int,
        normalizers: Sequence[str] = ('IN', 'LN', 'BN'),
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        num_groups: int = 32,
        sync: bool = False,
        correction: int = 0,
        track_running_stats: bool = True,
        update_fbn: bool = False,
        selector: str | None = None,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if selector not in (None, self.selector):
            raise ValueError(f"{type(self).__name__}'s selector is {self.selector}, got {selector}")
        check_normalizers(normalizers)
        if 'GN' in normalizers:
            check_groups(num_features, num_groups)
        self._set_statistics(normalizers, track_running_stats, update_fbn)
        self.num_features, self.normalizers = num_features, tuple(normalizers)
        self.eps, self.momentum, self.affine = eps, momentum, affine
        self.num_groups, self.sync = num_groups, sync
        like: dict[str, Any] = dict(device=device, dtype=dtype)
        self.weight = nn.Parameter(torch.empty(num_features, **like)) if affine else None
        self.bias = nn.Parameter(torch.empty(num_features, **like)) if affine else None
        self.ratio_logits = nn.Parameter(torch.empty(2, len(self.normalizers), **like))
        self.spatial_rank: int | None = None
        self.has_area, self._warned_shape = True, False
        self._register_buffers(like)
        self.correction = correction
        self.reset_parameters()

    def _register_buffers(self, like: dict[str, Any]) -> None:
        self._register_statistics(self.num_features, like)
        self.register_buffer(
            CODES, encode(self.normalizers, self.num_groups, self._kind, like['device'])
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.__dict__.setdefault('track_running_stats', True)
        if CODES not in self._buffers:  # pickled as a whole before there were any
            device = self.ratio_logits.device
            self.register_buffer(
                CODES, encode(self.normalizers, self.num_groups, self._kind, device)
            )

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Sets parameters and buffers to what a new layer has.

        A layer built on the meta device needs it after ``to_empty``.
        """
        super().reset_parameters()
        self.reset_running_stats()
        if self.weight is not None:
            nn.init.ones_(self.weight)
            nn.init.zeros_(self.bias)  # type: ignore[arg-type]
        nn.init.ones_(self.ratio_logits)
        self.normalizer_codes.copy_(encode(self.normalizers, self.num_groups, self._kind))

    def ratios(self) -> Tensor:
        """The importance ratios p and p' of Eq. 1, (2, K), rows summing to 1, differentiable."""
        raise NotImplementedError

    def logits_of(self, ratios: Tensor) -> Tensor:
        """Logits (2, K) that have these ratios (2, K) while training begins."""
        return ratios.clamp(min=1e-17).log()

    @property
    def selected(self) -> tuple[str | None, str | None]:
        """The normalizers selected for mean and variance; None for a row that is not one-hot.

        On the meta device, and for fake tensors, which have no values, both are None.
        """
        if self.ratio_logits.is_meta or isinstance(self.ratio_logits, FakeTensor):
            return None, None
        mean, var = (
            self.normalizers[row.index(1.0)] if 1.0 in row else None
            for row in self.ratios().tolist()
        )
        return mean, var

    def forward(self, x: Tensor) -> Tensor:
        """Normalizes ``x`` (N, C), (N, C, L), (N, C, H, W) or (N, C, T, H, W)."""
        if is_symbolic(x):
            return as_one_call(self, x)
        self._note_shape(x)
        recomputing = self.training and is_recomputing()
        update = self.training and not recomputing
        if self._has_fbn and self.training:
            self._check_statistics()
        batches = self.own_tensor('num_batches_tracked')
        if update and batches is not None:
            if is_transformed():
                check_batched(self, x)
            batches.add_(1)
        if not self.has_area and not x.numel() and not self._is_waited_for():
            return without_elements(x, *self.parameters(recurse=False))
        momentum: float | Tensor = 0.0 if self.momentum is None else self.momentum
        if self.momentum is None and batches is not None:
            wide = torch.promote_types(self.own_tensor('running_mean').dtype, torch.float32)
            momentum = batches.to(wide).reciprocal()
        norm = Norm(
            self.normalizers, self._eps, self.num_groups, self.sync, self.correction, self._source
        )
        mean, var, training = (
            self.own_tensor('running_mean'),
            self.own_tensor('running_var'),
            self.training,
        )
        if self._has_fbn and ((self.update_fbn and training) or any(self.measured_rows)):
            mean, var = self._statistics_of_step(x, momentum, update)
            training, update = True, False
        channels = PerChannel(self.own_tensor('weight'), self.own_tensor('bias'), mean, var)
        return self._normalize(
            x, norm, channels, training=training, momentum=momentum, updates=update
        )

    def own_tensor(self, name: str) -> Any:
        """The parameter or buffer, without ``nn.Module.__getattr__``: a third of its time."""
        for own in (self._parameters, self._buffers):
            if name in own:
                return own[name]
        return getattr(self, name)  # what takes a tensor's place, such as a parametrization

    def _note_shape(self, x: Tensor) -> None:
        """Notes rank and area of an input; refuses a shape that does not fit."""
        rank = x.dim() - 2
        if not 0 <= rank <= 3 or x.size(1) != self.num_features:
            raise ValueError(
                f'expected (N, {self.num_features}, *spatial) with 2 to 5 dimensions, '
                f'got {tuple(x.shape)}'
            )
        if self.spatial_rank != rank:
            self.spatial_rank = rank
        # an `if`, since it is a tensor to torch.jit.trace, and an unknown to a compiler
        if not has_area(x):
            self.has_area = False
            if x.numel():
                self._warn_of_shape(x)
        elif not self.has_area:
            self.has_area = True

    def _is_waited_for(self) -> bool:
        """Whether other processes wait for BN's statistics of this one, even of an empty batch."""
        return self.sync and self.training and world_size() > 1

    def _normalize(self, x: Tensor, norm: Norm, channels: PerChannel, **options) -> Tensor:
        return normalize(x, Logits(self.ratios()), norm, channels, **options)[0]

    def _load_from_state_dict(
        self, state_dict, prefix, metadata, strict, missing_keys, unexpected_keys, error_msgs
    ) -> None:
        state, logits = dict(state_dict), f'{prefix}ratio_logits'
        self.take_correction(state, prefix)
        optional = [CODES, 'correction']
        radius = self._buffers.get('radius')
        own = (self.normalizers, self.num_groups, self._buffers, self._kind)
        refusal = take_order(state, prefix, *own)
        if refusal is not None:
            add_once(refusal, error_msgs)
            optional += [key for key in RATIO_KEYS if state.pop(f'{prefix}{key}', None) is not None]
        elif logits not in state and f'{prefix}{CODES}' in state:
            if not any(f'{prefix}{key}' in state_dict for key in RATIO_KEYS):
                optional += RATIO_KEYS
                warn_of_other_norm(prefix, missing_keys)
            if self.ratio_logits.is_meta:  # so that what is assigned is complete
                self._add_start(state, prefix)
        if f'{prefix}running_mean' in state:  # PyTorch's counts batches from 0.4.1 on
            optional.append('num_batches_tracked')
        missing: list[str] = []
        if radius is not None and f'{prefix}radius' in state.keys() - state_dict.keys():
            missing.append(f'{prefix}radius')  # the state's codes ask for one
        rest = (metadata, strict, missing, unexpected_keys, error_msgs)
        super()._load_from_state_dict(self._own_logits(state, prefix), prefix, *rest)
        left_out = {f'{prefix}{key}' for key in optional}
        missing_keys += [key for key in missing if key not in left_out]

    def _add_start(self, state: dict[str, Tensor], prefix: str) -> None:
        """Adds to a state without logits those that a layer starts with."""
        like = state[f'{prefix}{CODES}']
        logits = self.ratio_logits
        state[f'{prefix}ratio_logits'] = torch.ones_like(logits, device=like.device)

    def _own_logits(self, state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
        """Translates logits of the other kind, SN's or SSN's, so that the ratios stay the same."""
        raise NotImplementedError

    def _warn_of_shape(self, x: Tensor) -> None:
        if self._warned_shape or torch.compiler.is_compiling():
            return
        batch = self.training or self.running_mean is None
        fit = competing(self.normalizers, x.shape, batch, self.num_groups, self.sync)
        if not all(fit):
            self._warned_shape = True
            out = [name for name, fits in zip(self.normalizers, fit, strict=True) if not fits]
            warnings.warn(
                f'{type(self).__name__}({self.num_features}): {", ".join(out)} left out for '
                f'input {tuple(x.shape)}, one element per statistic; its ratio goes to the others',
                stacklevel=4,
            )

    def __prepare_scriptable__(self) -> NoReturn:
        refuse_script(self)

    def extra_repr(self) -> str:
        ratios = ''  # sharded logits are gathered by all processes or by none
        if is_whole(self.ratio_logits) and has_values(self.ratio_logits):
            mean, var = (
                ' '.join(f'{n} {p:.2f}' for n, p in zip(self.normalizers, row, strict=True))
                for row in self.ratios().tolist()
            )
            ratios = f', mean: {mean}, var: {var}'
        groups = f', num_groups={self.num_groups}' if 'GN' in self.normalizers else ''
        groups += super().extra_repr()
        return (
            f'{self.num_features}, eps={self._eps}, momentum={self.momentum}, '
            f'affine={self.affine}{groups}{ratios}'
        )
