"""The layers of ``torch.nn`` that compute one normalizer."""

from torch import nn

from ..ops.normalizers import check_groups, no_case


def plain_norm(
    name: str, num_features: int, rank: int | None, eps: float, momentum: float | None,
    num_groups: int, track_running_stats: bool = True,
) -> nn.Module:  # fmt: skip
    """The layer of ``torch.nn`` that computes one normalizer.

    Args:
        name: 'BN', 'SyncBN', 'IN', 'LN' or 'GN'.
        num_features: C.
        rank: Spatial rank of the maps; (N, C) counts as 1.
        eps: ε.
        momentum: Weight of a batch in the running statistics.
        num_groups: GN's number of groups.
        track_running_stats: Whether batch norm keeps running statistics.

    Raises:
        ValueError: GN's groups do not divide the channels; or the rank is needed and unknown.
    """
    if name == 'SyncBN':
        return nn.SyncBatchNorm(
            num_features, eps, momentum, track_running_stats=track_running_stats
        )
    if name in ('LN', 'GN'):
        groups = 1 if name == 'LN' else num_groups
        check_groups(num_features, groups)
        return nn.GroupNorm(groups, num_features, eps)
    if name not in ('BN', 'IN'):
        raise no_case(name, 'layers.plain_norm')
    if rank is None:
        raise ValueError('the rank of its maps is unknown, so that no BatchNormNd can be named')
    dims = max(rank, 1) - 1
    if name == 'BN':
        kind = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[dims]
        return kind(num_features, eps, momentum, track_running_stats=track_running_stats)
    norm = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)[dims]
    return norm(num_features, eps, affine=True)
