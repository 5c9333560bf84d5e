"""MixedNorm of every pair, and Eq. 1 as it is defined."""

import torch

from ssn_mm.layers import MixedNorm
from ssn_mm.ops import NORMALIZERS

PAIRS = [(mean, var) for mean in NORMALIZERS for var in NORMALIZERS]


def build(mean, var, dtype=torch.float32):
    norm = MixedNorm(8, mean, var, num_groups=4)
    torch.nn.init.normal_(norm.weight), torch.nn.init.normal_(norm.bias)
    norm.running_mean.normal_(), norm.running_var.uniform_(0.5, 2)
    return norm.to(dtype).requires_grad_(False)


def definition(norm, x, names=None):
    """Eq. 1 computed slowly in float64."""
    wide = x.double()
    spatial, n = tuple(range(2, x.dim())), x.size(0)
    to_map = (slice(None), slice(None), *(None for _ in spatial))
    grouped = wide.reshape(n, 4, -1)

    def moment(name, what):
        if name in ('BN', 'FBN'):
            return {'mean': norm.running_mean, 'var': norm.running_var}[what].double()[None]
        function = {'mean': torch.mean, 'var': lambda t, d: t.var(d, correction=0)}[what]
        if name == 'GN':
            return function(grouped, 2).repeat_interleave(2, 1)
        if name == 'LN':
            return function(wide.reshape(n, -1), 1)[:, None].expand(n, 8)
        assert name == 'IN'
        return function(wide.reshape(n, 8, -1), 2)

    means, variances = names or (norm.mean, norm.var)
    mean = sum(moment(name, 'mean') for name in means)[to_map] / len(means)
    var = sum(moment(name, 'var') for name in variances)[to_map] / len(variances)
    weight, bias = (p.double()[None][to_map] for p in (norm.weight, norm.bias))
    return (wide - mean) / torch.sqrt(var + float(norm.eps)) * weight + bias
