"""Norms that networks may be converted to beside those of this package and of torch, by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class OtherNorm:
    """A norm of another package.

    Attributes:
        kinds: The classes of its layers.
        make: Makes a layer of the number of channels, the rank of the maps (1 to 3), ε and the
            number of groups; None for the norm's own number. It raises ValueError where it cannot.
        needs: What remains to be done to the network, in words; '' if nothing does.
    """

    kinds: tuple[type[nn.Module], ...]
    make: Callable[[int, int, float, int | None], nn.Module]
    needs: str = ''


_sources: list[Callable[[], Mapping[str, OtherNorm]]] = []


def offer_norms(source: Callable[[], Mapping[str, OtherNorm]]) -> None:
    """Makes norms known to :func:`ssn_mm.convert_norms`.

    Args:
        source: Returns the norms by their names; called when a name is asked for.
    """
    _sources.append(source)


def other_norms() -> dict[str, OtherNorm]:
    """The norms that packages offer, by name."""
    return {name: norm for source in _sources for name, norm in source().items()}
