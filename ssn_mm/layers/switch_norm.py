"""The normalization layers SSN and SN."""

import warnings
from collections.abc import Sequence
from functools import partialmethod

import torch
from torch import Tensor, nn

from ..ops.normalizers import check_groups, check_normalizers, competing, has_area
from ..ops.sparsestmax import sparsestmax
from ..ops.switch_norm import chosen_norm, sparse_switch_norm, switch_norm
from ..ops.tracing import is_recomputing
from .eps import EpsOfLayer
from .sharded import is_whole, whole
from .symbolic import as_one_call, is_symbolic


class SwitchNorm(nn.Module):
    """What SSN and SN share: Eq. 1 with learned ratios. Subclasses say how logits become ratios.

    Args:
        num_features: C of the (N, C, *spatial) input, spatial of rank 0 to 3.
        normalizers: At least two different names out of 'IN', 'LN', 'BN', 'GN'.
        eps: Added to the variance.
        momentum: Share of the new batch in BN's running statistics, as in ``nn.BatchNorm2d``;
            None averages over all batches.
        affine: Whether γ (``weight``) and β (``bias``) per channel are learned.
        num_groups: GN's number of groups; divides ``num_features``.
        sync: Whether BN measures the joint batch of all processes.
        correction: Elements that IN's variance is short of, as in ``torch.var``, and with it what
            is derived from it: 1 is the published layer, several times slower; converted
            checkpoints set it where they are loaded. 0 is what torch's layers have.

    Attributes:
        ratio_logits: (2, K) parameter, starts at 1; row 0 for means, row 1 for variances.

    Raises:
        ValueError: Names or groups do not fit; in the forward pass a shape that does not.

    Running statistics are updated once per training step, also under activation checkpointing:
    the recomputation in the backward pass leaves them alone and sees the same ratios.
    """

    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    eps = EpsOfLayer()  # added to the variance
    _abbr_ = 'bn'  # the attribute that OpenMMLab's networks and BN checkpoints call it by

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
    ) -> None:
        super().__init__()
        check_normalizers(normalizers)
        if correction not in (0, 1):
            raise ValueError(f'correction must be 0 or 1, got {correction!r}')
        if 'GN' in normalizers:
            check_groups(num_features, num_groups)
        self.num_features = num_features
        self.normalizers = tuple(normalizers)
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.num_groups = num_groups
        self.sync = sync
        self.correction = correction
        self.weight = nn.Parameter(torch.ones(num_features)) if affine else None
        self.bias = nn.Parameter(torch.zeros(num_features)) if affine else None
        self.ratio_logits = nn.Parameter(torch.ones(2, len(self.normalizers)))
        self.spatial_rank: int | None = None  # of the last input
        self.has_area = True  # whether the last input had more than one element per (n, c)
        self._warned_shape = False
        self._register_buffers()

    def _register_buffers(self) -> None:
        tracks = 'BN' in self.normalizers
        self.register_buffer('running_mean', torch.zeros(self.num_features) if tracks else None)
        self.register_buffer('running_var', torch.ones(self.num_features) if tracks else None)
        self.register_buffer('num_batches_tracked', torch.tensor(0) if tracks else None)

    def ratios(self) -> Tensor:
        """Importance ratios p and p' of Eq. 1, (2, K), rows summing to 1, differentiable."""
        raise NotImplementedError

    @property
    def selected(self) -> tuple[str | None, str | None]:
        """The normalizers chosen for mean and variance; None for a row not yet one-hot."""
        mean, var = (
            self.normalizers[row.index(1.0)] if 1.0 in row else None
            for row in self.ratios().tolist()
        )
        return mean, var

    def forward(self, x: Tensor) -> Tensor:
        """Normalizes ``x`` (N, C), (N, C, L), (N, C, H, W) or (N, C, T, H, W)."""
        if is_symbolic(x):
            return as_one_call(self, x)
        rank = x.dim() - 2
        if not 0 <= rank <= 3 or x.size(1) != self.num_features:
            raise ValueError(
                f'expected (N, {self.num_features}, *spatial) with 2 to 5 dimensions, '
                f'got {tuple(x.shape)}'
            )
        if self.spatial_rank != rank:
            self.spatial_rank = rank
        # asked by `if`: to torch.jit.trace it is a tensor, to a compiler an unknown of the shape
        if not has_area(x):
            self.has_area = False
            self._warn_of_shape(x)
        elif not self.has_area:
            self.has_area = True
        recomputing = self.training and is_recomputing()
        update = self.training and not recomputing
        batches = self.num_batches_tracked
        if update and batches is not None:
            batches.add_(1)
        momentum: float | Tensor = 0.0 if self.momentum is None else self.momentum
        if self.momentum is None and batches is not None:
            momentum = batches.float().reciprocal()
        return self._normalize(
            x,
            weight=self.weight,
            bias=self.bias,
            running_mean=None if recomputing else self.running_mean,
            running_var=None if recomputing else self.running_var,
            training=update,
            momentum=momentum,
            eps=self._eps,
            num_groups=self.num_groups,
            sync=self.sync,
        )

    def _normalize(self, x: Tensor, **options) -> Tensor:
        return switch_norm(
            x, self.ratios(), self.normalizers, correction=self.correction, **options
        )

    def _save_to_state_dict(self, destination, prefix, keep_vars) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self.correction:  # weights that were trained with it would be wrong without
            destination[f'{prefix}correction'] = torch.tensor(self.correction)

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        state = dict(state_dict)
        correction = state.pop(f'{prefix}correction', 0)
        if f'{prefix}ratio_logits' in state:  # else of another norm, which says nothing
            self.correction = int(correction)
        super()._load_from_state_dict(self._own_logits(state, prefix), prefix, *args)

    def _own_logits(self, state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
        """The state with logits that give this layer the ratios of the one that they come from."""
        raise NotImplementedError

    def _warn_of_shape(self, x: Tensor) -> None:
        if self._warned_shape or torch.compiler.is_compiling():
            return
        fit = competing(self.normalizers, x.shape, self.training, self.num_groups, self.sync)
        if not all(fit):
            self._warned_shape = True
            out = [name for name, fits in zip(self.normalizers, fit, strict=True) if not fits]
            warnings.warn(
                f'{type(self).__name__}({self.num_features}): {", ".join(out)} left out for '
                f'input {tuple(x.shape)}, one element per statistic; its share goes to the others',
                stacklevel=3,
            )

    def extra_repr(self) -> str:
        ratios = ''
        if is_whole(self.ratio_logits):  # else other processes would have to print, too
            mean, var = (
                ' '.join(f'{n} {p:.2f}' for n, p in zip(self.normalizers, row, strict=True))
                for row in self.ratios().tolist()
            )
            ratios = f', mean: {mean}, var: {var}'
        groups = f', num_groups={self.num_groups}' if 'GN' in self.normalizers else ''
        groups += f', correction={self.correction}' if self.correction else ''
        return (
            f'{self.num_features}, eps={self._eps}, momentum={self.momentum}, '
            f'affine={self.affine}{groups}{ratios}'
        )


class SN(SwitchNorm):
    """Switchable normalization: Eq. 1 with softmax ratios, never sparse.

    Arguments, attributes and errors are :class:`SwitchNorm`'s. An SSN's state loads with the same
    ratios, to 1e-7 where they are 0.
    """

    def ratios(self) -> Tensor:
        logits = whole(self.ratio_logits)
        return logits.softmax(-1, dtype=torch.promote_types(logits.dtype, torch.float32))

    def _own_logits(self, state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
        key, radius = f'{prefix}ratio_logits', state.pop(f'{prefix}radius', None)
        if radius is not None and key in state:
            state[key] = sparsestmax(state[key].float(), radius.float()).clamp(min=1e-7).log()
        return state


class SSN(SwitchNorm):
    """Sparse switchable normalization: Eq. 1 with SparsestMax ratios of a growing radius.

    Set the radius with :func:`set_radius` before each training step and call
    :func:`keep_selected` after it, or let ``SSNRadiusHook`` do both. Arguments and errors are
    :class:`SwitchNorm`'s. An SN's state loads with the same ratios, which a radius below their
    distance from the centre leaves as they are.

    Attributes:
        ratio_logits: (2, K) parameter, starts at 1; row 0 for means, row 1 for variances.
        radius: 0-d buffer, Euclidean distance on the simplex plane, starts at 0.
    """

    radius: Tensor

    _warned_radius = False  # of the class: once a process is enough
    _radius_managed = False
    _last_ratios: Tensor | None = None  # of the last training step, for keep_selected
    _chosen: tuple[str, str] | None = None  # what keep_selected saw, known without a look
    _kept_version = -1  # of ratio_logits, when it did
    _is_anew = False  # whether logits came from elsewhere since

    def _register_buffers(self) -> None:
        super()._register_buffers()
        self.register_buffer('radius', torch.tensor(0.0))

    def ratios(self) -> Tensor:
        logits = whole(self.ratio_logits)
        return sparsestmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), self.radius)

    def _normalize(self, x: Tensor, **options) -> Tensor:
        if self.training:
            self._warn_of_radius()
            chosen = self._known_choice(x)
            if chosen is not None:
                return chosen_norm(x, self.ratio_logits, *chosen, **options)
        options['correction'] = self.correction
        y, ratios = sparse_switch_norm(
            x, self.ratio_logits, self.radius, self.normalizers, **options
        )
        if torch.is_grad_enabled():  # so a step may follow, in evaluation mode too (norm_eval)
            vars(self)['_last_ratios'] = ratios  # a module's own assignment is slow
        return y

    def _known_choice(self, x: Tensor) -> tuple[str, str] | None:
        # asked first: a graph that knew would be compiled anew for each choice
        if torch.compiler.is_compiling() or self._chosen is None or self.correction:
            return None
        unchanged = self.ratio_logits._version == self._kept_version
        # without area a share may have to be handed over
        return self._chosen if unchanged and has_area(x) else None

    def _warn_of_radius(self) -> None:
        if self._radius_managed or SSN._warned_radius or torch.compiler.is_compiling():
            return
        SSN._warned_radius = True
        warnings.warn(
            'SSN trains but nothing sets its radius, so it will never select: add '
            "dict(type='SSNRadiusHook') to custom_hooks, or call ssn_mm.set_radius(model, r) "
            'before each step and ssn_mm.keep_selected(model) after it',
            stacklevel=5,
        )

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._start_anew()
        radius = state_dict.get(f'{prefix}radius')
        if radius is not None and radius > 0:
            self._radius_managed = True

    def _start_anew(self) -> None:
        """Forgets what was chosen by other logits than these."""
        self._last_ratios = self._chosen = None
        self._is_anew = True

    def _own_logits(self, state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
        key = f'{prefix}ratio_logits'
        if key in state and f'{prefix}radius' not in state:  # SN has none
            state[key] = state[key].float().softmax(-1)
            state[f'{prefix}radius'] = torch.zeros(())
        return state


class SyncSSN(SSN):
    """SSN whose BN measures the joint batch of all processes, as SyncBN does.

    Without a process group it is SSN. Arguments, ``sync`` excepted, attributes and errors are
    :class:`SSN`'s.
    """

    __init__ = partialmethod(SSN.__init__, sync=True)
