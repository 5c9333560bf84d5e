"""The layer that a frozen SSN becomes when mean and variance chose different normalizers."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..ops.moments import group_moments, instance_moments, layer_moments
from ..ops.normalizers import NORMALIZERS, check_groups, dense


class MixedNorm(nn.Module):
    """Eq. 1 with one normalizer for the mean and another for the variance, for inference.

    Only the two statistics that are needed are measured; BN's are constants.

    Args:
        num_features: C of the (N, C, *spatial) input.
        mean: Normalizer of the mean, one of 'IN', 'LN', 'BN', 'GN'; or several, which are
            averaged, as an SSN does where the one that it chose has one element per statistic.
        var: Normalizers of the variance, likewise.
        eps: Added to the variance.
        num_groups: GN's number of groups.

    Raises:
        ValueError: A name is unknown, or the groups do not divide the channels.
    """

    running_mean: Tensor
    running_var: Tensor

    _abbr_ = 'bn'

    def __init__(
        self,
        num_features: int,
        mean: str | Sequence[str],
        var: str | Sequence[str],
        eps: float = 1e-5,
        num_groups: int = 32,
    ) -> None:
        super().__init__()
        self.mean = (mean,) if isinstance(mean, str) else tuple(mean)
        self.var = (var,) if isinstance(var, str) else tuple(var)
        for names in (self.mean, self.var):
            if not names or not set(names) <= set(NORMALIZERS):
                raise ValueError(f'unknown normalizer in {names}; choose from {NORMALIZERS}')
        if 'GN' in (*self.mean, *self.var):
            check_groups(num_features, num_groups)
        self.eps, self.num_groups = eps, num_groups
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer('running_mean', torch.zeros(num_features))
        self.register_buffer('running_var', torch.ones(num_features))

    def forward(self, x: Tensor) -> Tensor:
        """Normalizes ``x`` (N, C, *spatial)."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        several = len(self.mean) > 1 or len(self.var) > 1
        if several or (torch.is_grad_enabled() and (x.requires_grad or self.weight.requires_grad)):
            y = self._from_moments(wide)  # its every step has a derivative
        elif self.var == ('BN',):
            scale = torch.rsqrt(self.running_var + self.eps) * self.weight
            shift = self.bias - self._mean(wide) * scale
            y = torch.addcmul(_on_map(shift, x), wide, _on_map(scale[None], x))
        else:
            y = self._from_group_norm(wide)
        return y.to(x.dtype)

    def _from_group_norm(self, x: Tensor) -> Tensor:
        """Torch's fused kernel divides by the deviation; what its mean differs is added after."""
        n, c = x.shape[:2]
        groups = {'IN': c, 'LN': 1, 'GN': self.num_groups}[self.var[0]]
        area = x.numel() // (n * c)
        y, own, rstd = torch.ops.aten.native_group_norm(
            dense(x), self.weight, self.bias, n, c, area, groups, self.eps
        )
        own, rstd = (t.repeat_interleave(c // groups, 1) for t in (own, rstd))  # (N, C)
        mean = own.mean(1, True) if (self.mean, self.var) == (('LN',), ('IN',)) else self._mean(x)
        return y.add_(_on_map((own - mean) * rstd * self.weight, x))

    def _mean(self, x: Tensor) -> Tensor:
        """Of the one normalizer, (N or 1, C or 1)."""
        name = self.mean[0]
        if name == 'BN':
            return self.running_mean[None]
        mean = x.mean(tuple(range(2, x.dim()))) if x.dim() > 2 else x
        if name == 'GN':
            grouped = mean.unflatten(1, (self.num_groups, -1))
            return grouped.mean(2, True).expand_as(grouped).flatten(1)
        return mean if name == 'IN' else mean.mean(1, True)

    def _from_moments(self, x: Tensor) -> Tensor:
        """The definition, for any names; slower."""
        own = instance_moments(x)
        moments = {
            'IN': lambda: own,
            'LN': lambda: layer_moments(*own),
            'GN': lambda: group_moments(*own, self.num_groups),
            'BN': lambda: (self.running_mean[None], self.running_var[None]),
        }
        mean = torch.stack([moments[name]()[0].expand_as(own[0]) for name in self.mean]).mean(0)
        var = torch.stack([moments[name]()[1].expand_as(own[0]) for name in self.var]).mean(0)
        scale = torch.rsqrt(var + self.eps) * self.weight
        return torch.addcmul(_on_map(self.bias - mean * scale, x), x, _on_map(scale, x))

    def extra_repr(self) -> str:
        mean, var = ('+'.join(names) for names in (self.mean, self.var))
        return f'{self.weight.numel()}, mean={mean}, var={var}, eps={self.eps}'


def _on_map(t: Tensor, x: Tensor) -> Tensor:
    return t.view(*t.shape, *(1 for _ in x.shape[2:]))
