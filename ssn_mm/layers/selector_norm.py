"""The layer whose ratios another selector than SparsestMax makes, and what drives it."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..ops.norm import Logits, Norm, PerChannel
from ..ops.sparsestmax import sparsestmax
from ..ops.switch_norm import normalize
from .base import SwitchNorm
from .selectors import find_selector, one_hot
from .sharded import whole


class SelectorNorm(SwitchNorm):
    """Switchable normalization whose selector is not SparsestMax, to be compared with SSN.

    ``SSN(..., selector='gumbel')`` makes one. Ratios are those of ``logits / temperature``; at
    temperature 0 every row is the vertex of its largest logit, whatever the selector, and gets no
    gradient. :func:`set_temperature` sets it, and ``SSNRadiusHook`` by a schedule.

    - 'softmax', 'argmax': softmax; what they end with differs, a mixture or its largest ratio.
    - 'sparsemax', 'entmax15': as in their papers; the latter needs the package entmax.
    - 'gumbel': softmax; each training step draws a one-hot sample for each row, whose gradient is
      that of the relaxed sample (straight-through). Evaluation takes the ratios.
    - 'softmax+entropy': softmax; :func:`selection_entropy` belongs into the loss.

    It has the arguments, attributes and errors of :class:`SwitchNorm`. A state of SN loads where
    the selector is a softmax, with its ratios; that of an SSN, too.

    Args:
        selector: One of the names above.

    Attributes:
        temperature: 0-d buffer, at least 0, starts at 1.

    Raises:
        ValueError: The selector is unknown, or what :class:`SwitchNorm` raises.
        ImportError: The selector needs a package that is not installed.
    """

    temperature: Tensor

    def __init__(self, *args: Any, selector: str, **options: Any) -> None:
        self.selector = selector
        self._selector = find_selector(selector)
        self._kind = self._selector.kind
        super().__init__(*args, **options)

    def _register_buffers(self, like: dict[str, Any]) -> None:
        super()._register_buffers(like)
        self.register_buffer('temperature', torch.empty((), **like))

    def reset_parameters(self) -> None:
        """Sets parameters and buffers to what a new layer has."""
        super().reset_parameters()
        self.temperature.fill_(1)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if k != '_selector'}  # functions have no copy

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._selector = find_selector(self.selector)

    def ratios(self) -> Tensor:
        logits = whole(self.ratio_logits)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        heat = self.temperature.to(logits)
        soft = self._selector.ratios(logits / heat.clamp(min=1e-6))
        return soft.where(heat > 0, one_hot(logits))

    def logits_of(self, ratios: Tensor) -> Tensor:
        """Logits (2, K) that have these ratios (2, K) at temperature 1."""
        return self._selector.logits(ratios)

    def _normalize(self, x: Tensor, norm: Norm, channels: PerChannel, **options) -> Tensor:
        ratios = self.ratios()
        if self.training and self._selector.draws:
            ratios = self._drawn(ratios)
        return normalize(x, Logits(ratios), norm, channels, **options)[0]

    def _drawn(self, ratios: Tensor) -> Tensor:
        """A one-hot sample of each row, with the gradient of the relaxed sample."""
        logits = whole(self.ratio_logits).to(ratios)
        noise = -torch.empty_like(logits).exponential_().log()
        heat = self.temperature.to(logits)
        soft = ((logits + noise) / heat.clamp(min=1e-6)).softmax(-1)
        return (one_hot(soft) + soft - soft.detach()).where(heat > 0, ratios)

    def _own_logits(self, state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
        state.setdefault(f'{prefix}temperature', self.temperature.detach().clone())
        key, radius = f'{prefix}ratio_logits', state.pop(f'{prefix}radius', None)
        if radius is not None and key in state:  # of an SSN
            ratios = sparsestmax(whole(state[key]).float(), radius.float())
            state[key] = self.logits_of(ratios)
        return state

    def extra_repr(self) -> str:
        return f'{super().extra_repr()}, selector={self.selector}'


def selector_norms(model: nn.Module) -> Iterator[tuple[str, SelectorNorm]]:
    """Yields the name and the module of every :class:`SelectorNorm`, ``model`` itself included."""
    return ((name, m) for name, m in model.named_modules() if isinstance(m, SelectorNorm))


@torch.no_grad()
def set_temperature(model: nn.Module, temperature: float) -> None:
    """Sets the temperature of every :class:`SelectorNorm` in ``model``.

    Args:
        model: Any module, a layer itself included.
        temperature: What logits are divided by, at least 0. At 0 every row is one-hot.

    Raises:
        ValueError: ``temperature`` is negative, NaN or infinite.
    """
    if not 0 <= temperature < float('inf'):
        raise ValueError(f'temperature must be a finite number >= 0, got {temperature}')
    for _, layer in selector_norms(model):
        layer.temperature.fill_(temperature)


def selection_entropy(model: nn.Module) -> Tensor:
    """The mean entropy of the rows of ratios of 'softmax+entropy', in nats, differentiable.

    Added to the loss with a weight, it drives rows towards a vertex.

    Raises:
        ValueError: No layer of ``model`` has this selector.
    """
    rows = [m.ratios() for _, m in selector_norms(model) if m._selector.penalty]
    if not rows:
        raise ValueError("the model has no layer with selector='softmax+entropy'")
    entropies = [torch.special.entr(row).sum(-1) for row in rows]
    return torch.cat([entropy.to(entropies[0].device) for entropy in entropies]).mean()
