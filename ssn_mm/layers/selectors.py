"""Selectors: how ratio logits become importance ratios, by name."""

import difflib
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple

import torch
from torch import Tensor

from ..ops.sparsestmax import sparsemax


class Selector(NamedTuple):
    """A way from logits to ratios.

    Attributes:
        ratios: Ratios (..., K), rows summing to 1, of logits (..., K) that were divided by the
            temperature.
        logits: Logits that have certain ratios at temperature 1.
        kind: Which logits mean the same, for files: 0 softmax's, 2 sparsemax's, 3 entmax15's; 1 is
            SparsestMax's. Places stay as they are.
        draws: Whether a training step draws a one-hot sample of the ratios (straight-through).
        penalty: Whether the entropy of the ratios belongs into the loss.
    """

    ratios: Callable[[Tensor], Tensor]
    logits: Callable[[Tensor], Tensor]
    kind: int = 0
    draws: bool = False
    penalty: bool = False


def _softmax(z: Tensor) -> Tensor:
    return z.softmax(-1)


def _log(p: Tensor) -> Tensor:
    return p.clamp(min=1e-17).log()


def _entmax15(z: Tensor) -> Tensor:
    return import_module('entmax').entmax15(z, dim=-1)  # optional; the layers need PyTorch alone


SOFT: dict[str, Selector] = {
    'softmax': Selector(_softmax, _log),
    'sparsemax': Selector(sparsemax, lambda p: p.clone(), kind=2),
    # p = ((z/2 - τ)₊)², see Peters et al. 2019
    'entmax15': Selector(_entmax15, lambda p: 2 * p.sqrt(), kind=3),
    'gumbel': Selector(_softmax, _log, draws=True),
    'softmax+entropy': Selector(_softmax, _log, penalty=True),
    'argmax': Selector(_softmax, _log),
}
SELECTORS = ('sparsestmax', *SOFT)


def find_selector(name: str) -> Selector:
    """The selector of a name, one of :data:`SOFT`.

    Raises:
        ValueError: There is none; says the nearest names.
        ImportError: It needs a package that is not installed.
    """
    if name not in SOFT:
        near = difflib.get_close_matches(str(name), SELECTORS, n=2, cutoff=0.4)
        hint = f'did you mean {" or ".join(map(repr, near))}? ' if near else ''
        raise ValueError(f'unknown selector {name!r}; {hint}There are {", ".join(SELECTORS)}')
    if name == 'entmax15' and not find_spec('entmax'):
        raise ImportError("selector='entmax15' needs the package entmax: pip install entmax")
    return SOFT[name]


def one_hot(logits: Tensor) -> Tensor:
    """The vertex of the largest logit of each row, the first where several are; (..., K)."""
    places = torch.arange(logits.size(-1), device=logits.device)
    return (places == logits.argmax(-1, keepdim=True)).to(logits)
