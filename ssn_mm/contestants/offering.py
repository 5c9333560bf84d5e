"""Contestants as norms that any network can be converted to."""

from torch import nn

from ..layers.other_norms import OtherNorm
from .record import Contestant
from .registry import contestants


def offered_norms() -> dict[str, OtherNorm]:
    """All contestants by name, for :func:`ssn_mm.convert_norms`."""
    return {name: _offer(contestant) for name, contestant in contestants().items()}


def _offer(contestant: Contestant) -> OtherNorm:
    def make(num_features: int, rank: int, eps: float, num_groups: int | None) -> nn.Module:
        if rank not in (2, 3):
            raise ValueError(
                f'{contestant.name} takes maps (N, C, H, W) and (N, C, T, H, W), and this layer '
                f'has maps with {rank} spatial dimension'
            )
        groups = {} if num_groups is None else dict(num_groups=num_groups)
        return contestant.build(num_features, rank, eps, **groups)

    kinds = tuple(k for k in contestant.layers if not k.__module__.startswith('torch.'))
    effects = ' and '.join(contestant.neighbours)
    needs = (
        f'its neighbours: {contestant.name} {effects}, which '
        'ssn_mm.contestants.arrange(model, images) sees to'
    )
    return OtherNorm(kinds, make, needs if effects else '')
