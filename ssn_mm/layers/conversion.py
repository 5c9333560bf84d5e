"""What a conversion of norms was asked for, and what becomes of each norm."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from ..ops.normalizers import check_normalizers
from .base import SwitchNorm
from .found_norm import FoundNorm
from .other_norms import OtherNorm, other_norms
from .switch_norm import SN, SSN, SyncSSN

SWITCH_NORMS: dict[str, type[SwitchNorm]] = {'SSN': SSN, 'SyncSSN': SyncSSN, 'SN': SN}
TARGETS = (*SWITCH_NORMS, 'BN', 'SyncBN', 'IN', 'LN', 'GN')
# of the layers, where a network says nothing
_OPTIONS = ('num_groups', 'correction', 'update_fbn', 'selector')


@dataclass(frozen=True)
class Options:
    """What :func:`convert_norms` was asked for.

    Attributes:
        to: Name of the wanted norm, or a function that makes it.
        normalizers: Ω, or None.
        start: Which ratios a layer starts with.
        layer: Further arguments of the layers.
        unmeasured: Whether FBN may do without statistics.
        other: The wanted norm, if it is one of another package.
    """

    to: str | Callable[[int], nn.Module]
    normalizers: tuple[str, ...] | None
    start: str | float | Mapping[str, float]
    layer: dict[str, Any] = field(default_factory=dict)
    unmeasured: bool = False
    other: OtherNorm | None = None

    @classmethod
    def of(cls, to: Any, normalizers: Any, start: Any, options: Mapping[str, Any]) -> 'Options':
        """The options, from the arguments of :func:`convert_norms`."""
        to = next((name for name, kind in SWITCH_NORMS.items() if to is kind), to)
        layer = dict(options)
        unmeasured = bool(layer.pop('unmeasured', False))
        is_name = normalizers is None or isinstance(normalizers, str)  # a string is refused later
        names = normalizers if is_name else tuple(normalizers)
        if not isinstance(to, str) and not callable(to):
            raise TypeError(
                f'to must be the name of a norm, or a function that makes it, got {to!r}'
            )
        return cls(to, names, start, layer, unmeasured, _find_other(to))

    @property
    def name(self) -> str:
        """The wanted norm, for messages."""
        return self.to if isinstance(self.to, str) else getattr(self.to, '__name__', str(self.to))


@dataclass(frozen=True, eq=False)
class Conversion:
    """What becomes of one norm.

    Attributes:
        module: The norm.
        kind: Its class.
        to: What it becomes, in words.
        kept: What the new layer keeps.
        lost: What it does not keep, and why; of a norm that is left, why.
        layer: The new layer; None if the norm is left or refused.
        refusal: Why it is refused; '' if it is not.
    """

    module: nn.Module
    kind: str
    to: str = 'left'
    kept: str = ''
    lost: str = ''
    layer: nn.Module | None = None
    refusal: str = ''

    @classmethod
    def left(cls, norm: FoundNorm | SwitchNorm, why: str) -> 'Conversion':
        """The row of a norm that stays."""
        module = norm if isinstance(norm, SwitchNorm) else norm.module
        return cls(module, type(module).__name__, lost=why)

    @classmethod
    def refused(cls, norm: FoundNorm | SwitchNorm, why: str) -> 'Conversion':
        """The row of a norm because of which nothing is converted."""
        module = norm if isinstance(norm, SwitchNorm) else norm.module
        kind = type(module).__name__ if isinstance(norm, SwitchNorm) else norm.kind
        return cls(module, kind, refusal=why)


def _find_other(to: str | Callable[[int], nn.Module]) -> OtherNorm | None:
    """The norm of another package that a name means, if it means one.

    Raises:
        ValueError: It is no norm's name.
    """
    if not isinstance(to, str) or to in TARGETS:
        return None
    others = other_norms()
    if to in others:
        return others[to]
    names = dict.fromkeys([*TARGETS, *others])
    folded = {name.casefold(): name for name in names}
    near = difflib.get_close_matches(to.casefold(), folded, 1, 0.3)
    hint = f'did you mean {folded[near[0]]!r}? It' if near else 'it'
    raise ValueError(
        f'to={to!r} is no norm that a network can be converted to; {hint} may be one of '
        f'{", ".join(names)}, or a function that makes a layer from the number of channels'
    )


def check_options(asked: Options) -> None:
    """Raises unless the options fit each other, whatever the network is.

    Raises:
        TypeError: An option is unknown.
        ValueError: Normalizers are unknown, or a ratio is out of its range.
    """
    options = _OPTIONS if asked.to in SWITCH_NORMS else ('num_groups',)
    if unknown := sorted(asked.layer.keys() - set(options)):
        raise TypeError(
            f'convert_norms knows no {", ".join(unknown)} for {asked.name}; ε, momentum, device '
            'and dtype are those of the norms, and options are '
            f'{", ".join((*options, "unmeasured"))}'
        )
    groups = asked.layer.get('num_groups', 1)
    if not isinstance(groups, int) or groups < 1:
        raise ValueError(f'num_groups must be a whole number from 1 on, got {groups!r}')
    if asked.normalizers is not None:
        check_normalizers(asked.normalizers)
    if asked.to not in SWITCH_NORMS and not (asked.normalizers is None and asked.start == 'kept'):
        raise ValueError(f'normalizers and start are for SSN and SN; {asked.name} has no ratios')
    _check_start(asked.start)


def _check_start(start: Any) -> None:
    ratios = list(start.values()) if isinstance(start, Mapping) else [start]
    if start in ('kept', 'even'):
        return
    if not all(isinstance(ratio, float | int) for ratio in ratios):
        raise ValueError(
            f"start must be 'kept', 'even', a ratio such as 0.8, or ratios by name such as "
            f'dict(BN=0.4, FBN=0.4), got {start!r}'
        )
    if isinstance(start, Mapping):
        if not any(ratios) or not all(0 <= p <= 1 for p in ratios) or sum(ratios) > 1 + 1e-6:
            raise ValueError(
                'ratios to start with must lie in [0, 1], one of them above 0, their sum at most '
                f'1, got {dict(start)}'
            )
        check_normalizers(tuple(start), at_least=1)
    elif not 0 < start < 1:
        raise ValueError(
            f"the ratio to start with must lie inside (0, 1), got {start}; 1 is 'kept'"
        )
