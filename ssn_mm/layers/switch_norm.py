"""The normalization layers SSN and SN."""

import inspect
import warnings
from functools import partialmethod
from typing import Any

import torch
from torch import Tensor

from ..ops.norm import Logits, Norm, PerChannel
from ..ops.normalizers import fitting
from ..ops.selected_norm import selected_norm
from ..ops.sparsestmax import sparsestmax
from ..ops.switch_norm import normalize
from ..ops.tracing import is_traced, is_transformed
from .base import SwitchNorm
from .known_step import known_step, repeat_step
from .selection import Selection, restore_vertices, selected_names
from .selector_norm import SelectorNorm
from .sharded import is_whole, spread_like, whole


class SN(SwitchNorm):
    """Switchable normalization: Eq. 1 with softmax ratios, never sparse.

    It has the arguments, attributes and errors of :class:`SwitchNorm`. The state of an SSN loads,
    and its ratios stay the same, to 1e-7 where they are 0.
    """

    def ratios(self) -> Tensor:
        logits = whole(self.ratio_logits)
        return logits.softmax(-1, dtype=torch.promote_types(logits.dtype, torch.float32))

    def _own_logits(self, state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
        key, radius = f'{prefix}ratio_logits', state.pop(f'{prefix}radius', None)
        if radius is not None and key in state:
            ratios = sparsestmax(whole(state[key]).float(), radius.float())
            state[key] = spread_like(state[key], ratios.clamp(min=1e-7).log())
        return state


class SSN(SwitchNorm):
    """Sparse switchable normalization: Eq. 1 with SparsestMax ratios of a growing radius.

    Set the radius with :func:`set_radius` before each training step and call
    :func:`keep_selected` after it, or let ``SSNRadiusHook`` do both. It has the arguments and
    errors of :class:`SwitchNorm`. The state of an SN loads, and its ratios stay the same while the
    radius is below their distance from the centre of the simplex. With ``selector=`` another name
    than 'sparsestmax' the call makes a :class:`SelectorNorm`, which is no SSN.

    Attributes:
        ratio_logits: Parameter (2, K), starts at 1; row 0 for means, row 1 for variances.
        radius: 0-d buffer, Euclidean distance on the simplex plane, starts at 0.
        selection: What is known of the logits between calls, see :class:`Selection`.
    """

    radius: Tensor

    selector = 'sparsestmax'
    _kind = 1
    _source = 'logits'
    _warned_radius = False  # of the class, so that a process warns once
    selection: Selection

    def __new__(cls, *args: Any, selector: str | None = None, **options: Any) -> Any:
        if selector in (None, cls.selector):
            return super().__new__(cls)
        if cls is SyncSSN:
            options['sync'] = True
        return SelectorNorm(*args, selector=selector, **options)

    def _register_buffers(self, like: dict[str, Any]) -> None:
        super()._register_buffers(like)
        self.register_buffer('radius', torch.empty((), **like))
        self.selection = Selection()

    def reset_parameters(self) -> None:
        super().reset_parameters()
        self.radius.zero_()
        self.selection = Selection()

    def forward(self, x: Tensor) -> Tensor:
        """Normalizes ``x`` (N, C), (N, C, L), (N, C, H, W) or (N, C, T, H, W)."""
        y = repeat_step(self, x)
        if y is None:
            y = super().forward(x)
            if not torch.compiler.is_compiling():
                self.selection.step = known_step(self, x)
        return y

    def ratios(self) -> Tensor:
        logits = whole(self.ratio_logits)
        return sparsestmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), self.radius)

    def logits_of(self, ratios: Tensor) -> Tensor:
        """The ratios themselves, which SparsestMax keeps while the radius is below them."""
        return ratios

    def _normalize(self, x: Tensor, norm: Norm, channels: PerChannel, **options) -> Tensor:
        logits, names = self.own_tensor('ratio_logits'), None
        traced = is_traced(logits)
        if self.training:
            self._warn_of_radius()
            names = self._known_names(x, logits, traced)
        if names is not None:
            y, ratios = selected_norm(x, logits, *names, norm, channels, **options), None
        else:
            given = Logits(logits, self.own_tensor('radius'))
            y, ratios = normalize(x, given, norm, channels, **options)
        # a step may follow, in evaluation mode too (norm_eval); it moves leaves of the graph only
        if torch.is_grad_enabled() and logits.is_leaf and not (traced and is_transformed()):
            self.selection.note_run(logits, ratios, names)
        return y

    def _known_names(self, x: Tensor, logits: Tensor, traced: bool) -> tuple[str, str] | None:
        # a graph that knew them would be compiled again for each selection
        if torch.compiler.is_compiling():
            return None
        if logits.is_cpu and not traced:  # values tell, and a look costs a microsecond
            names = selected_names(logits.tolist(), self.normalizers)
        else:
            names = self.selection.known(logits)
        if names is None or self.has_area:
            return names
        # on a map of one element the ratio may have to be handed over to other normalizers
        fit = fitting(names, x.shape, True, self.num_groups, self.sync)
        return names if all(fit) else None

    def _warn_of_radius(self) -> None:
        if self.selection.has_radius or SSN._warned_radius or torch.compiler.is_compiling():
            return
        SSN._warned_radius = True
        warnings.warn(
            'SSN trains but nothing sets its radius, so it will never select: add '
            "dict(type='SSNRadiusHook') to custom_hooks, or call ssn_mm.set_radius(model, r) "
            'before each step and ssn_mm.keep_selected(model) after it',
            stacklevel=5,
        )

    def _save_to_state_dict(self, destination, prefix, keep_vars) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        logits, selection = self.ratio_logits, self.selection
        if selection.is_stepped(logits) and not keep_vars and is_whole(logits):
            # the state is taken between the optimizer's step and keep_selected, which loading it
            # would not make up for
            with torch.no_grad():
                now = self.ratios()
                then = selection.ran[2].to(now)  # type: ignore[index]
                kept = restore_vertices(logits.to(now.dtype), then, now)[0]
                destination[f'{prefix}ratio_logits'] = kept.to(logits.dtype)

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        self.selection.forget()
        radius = state_dict.get(f'{prefix}radius')
        if radius is not None and not radius.is_meta and radius > 0:
            self.selection.has_radius = True
        logits = self.ratio_logits
        # a process that loads alone must not know more than others with which BN measures
        if is_whole(logits) and not (logits.is_cpu or logits.is_meta or self.sync):
            names = selected_names(logits.tolist(), self.normalizers)
            if names is not None:
                self.selection.note_kept(logits, logits.detach().clone())
                self.selection.note_names(names)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        # a copy starts with nothing known; a layer that was pickled whole before 0.2 has no object
        managed = self.__dict__.pop('_radius_managed', False)
        earlier = self.__dict__.get('selection') or Selection(managed)
        self.selection = Selection(earlier.has_radius)

    def _own_logits(self, state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
        key = f'{prefix}ratio_logits'
        if key in state and f'{prefix}radius' not in state:  # SN has none
            state[key] = state[key].float().softmax(-1)
            state[f'{prefix}radius'] = torch.zeros((), device=state[key].device)
        return state

    def _add_start(self, state: dict[str, Tensor], prefix: str) -> None:
        super()._add_start(state, prefix)
        like = state[f'{prefix}ratio_logits']
        state[f'{prefix}radius'] = torch.zeros_like(self.radius, device=like.device)


# that of __new__ would be shown, and names nothing
SSN.__signature__ = inspect.signature(SwitchNorm)  # type: ignore[attr-defined]


class SyncSSN(SSN):
    """SSN whose BN measures the joint batch of all processes, as SyncBN does.

    Without a process group it is SSN. It has the arguments of :class:`SSN` but ``sync``, and its
    attributes and errors.
    """

    __init__ = partialmethod(SSN.__init__, sync=True)
