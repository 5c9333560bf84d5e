"""The layer that a frozen SSN becomes when mean and variance chose different normalizers."""

import torch
from torch import Tensor, nn

from ..ops.normalizers import NORMALIZERS, check_groups


class MixedNorm(nn.Module):
    """Eq. 1 with one normalizer for the mean and another for the variance, for inference.

    Only the two statistics that are needed are measured; BN's are constants.

    Args:
        num_features: C of the (N, C, *spatial) input.
        mean: Normalizer of the mean, one of 'IN', 'LN', 'BN', 'GN'.
        var: Normalizer of the variance, likewise.
        eps: Added to the variance.
        num_groups: GN's number of groups.

    Raises:
        ValueError: A name is unknown, or the groups do not divide the channels.
    """

    running_mean: Tensor
    running_var: Tensor

    _abbr_ = 'bn'

    def __init__(
        self, num_features: int, mean: str, var: str, eps: float = 1e-5, num_groups: int = 32
    ) -> None:
        super().__init__()
        for name in (mean, var):
            if name not in NORMALIZERS:
                raise ValueError(f'unknown normalizer {name!r}; choose from {NORMALIZERS}')
        if 'GN' in (mean, var):
            check_groups(num_features, num_groups)
        self.mean, self.var, self.eps, self.num_groups = mean, var, eps, num_groups
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer('running_mean', torch.zeros(num_features))
        self.register_buffer('running_var', torch.ones(num_features))

    def forward(self, x: Tensor) -> Tensor:
        """Normalizes ``x`` (N, C, *spatial)."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        to_map = (1, -1, *(1 for _ in x.shape[2:]))
        if self.mean == 'BN':
            mean = self.running_mean.view(to_map)
        else:
            mean = self._grouped(wide, self.mean).mean(2, keepdim=True)
            mean = self._per_channel(mean, wide)
        if self.var == 'BN':
            var = self.running_var.view(to_map)
        else:
            var = self._grouped(wide, self.var).var(2, correction=0, keepdim=True)
            var = self._per_channel(var, wide)
        scale = self.weight.view(to_map) * torch.rsqrt(var + self.eps)
        return ((wide - mean) * scale + self.bias.view(to_map)).to(x.dtype)

    def _grouped(self, x: Tensor, name: str) -> Tensor:
        """(N, groups, elements): what each statistic of a normalizer spans."""
        groups = {'IN': x.size(1), 'LN': 1, 'GN': self.num_groups}[name]
        return x.reshape(x.size(0), groups, -1)

    @staticmethod
    def _per_channel(statistic: Tensor, x: Tensor) -> Tensor:
        """(N, groups, 1) to (N, C, 1, ...)."""
        each = statistic.repeat_interleave(x.size(1) // statistic.size(1), 1)
        return each.reshape(x.size(0), x.size(1), *(1 for _ in x.shape[2:]))

    def extra_repr(self) -> str:
        return f'{self.weight.numel()}, mean={self.mean}, var={self.var}, eps={self.eps}'
