"""The slow references: SparsestMax row by row as Alg. 2 is printed, and Eq. 1 as plain autograd."""

import math

import torch
from torch import Tensor


def sparsemax(z: Tensor) -> Tensor:
    """Sparsemax of one row in float64, by App. A."""
    descending = z.sort(descending=True).values
    total = descending.cumsum(0)
    ranks = torch.arange(1, len(z) + 1)
    size = ranks[1 + ranks * descending > total].max()
    return (z - (total[size - 1] - 1) / size).clamp(min=0)


def sparsestmax(z: Tensor, radius: float) -> Tensor:
    """SparsestMax of one row in float64 without ties, by Alg. 2."""
    k = len(z)
    if radius >= math.sqrt((k - 1) / k):
        return torch.eye(k).to(z)[z.argmax()]
    return _project(sparsemax(z), torch.full_like(z, 1 / k), radius)


def _project(p0: Tensor, centre: Tensor, radius: float) -> Tensor:
    distance = (p0 - centre).norm()
    if distance >= radius:
        return p0
    p1 = centre + radius * (p0 - centre) / distance
    if (p1 >= 0).all():
        return p1
    p2 = sparsemax(p1)
    face = (p2 > 0).to(p2)
    face = face / face.sum()
    smaller = math.sqrt(max(radius**2 - (centre - face).square().sum().item(), 0))
    return _project(p2, face, smaller)


def nearest_point(z: Tensor, radius: float, steps: int = 400) -> Tensor:
    """Eq. 3 for K=3 by brute force: the feasible grid point nearest to z, and the distance."""
    i, j = torch.meshgrid(torch.arange(steps + 1), torch.arange(steps + 1), indexing='ij')
    inside = i + j <= steps
    i, j = i[inside], j[inside]
    grid = torch.stack([i, j, steps - i - j], 1).double() / steps
    # the circle itself, which a grid misses
    angle = torch.linspace(0, 2 * math.pi, 20 * steps, dtype=torch.float64)
    plane = torch.tensor([[1.0, -1, 0], [1, 1, -2]]).double() / z.new_tensor([[2], [6]]).sqrt()
    circle = 1 / 3 + radius * torch.stack([angle.cos(), angle.sin()], 1) @ plane
    points = torch.cat([grid, circle[(circle >= 0).all(1)], torch.eye(3).double()])
    feasible = points[(points - 1 / 3).norm(dim=1) >= radius - 1e-9]
    return feasible[(feasible - z).norm(dim=1).argmin()]


def switch_norm(
    x: Tensor,
    ratios: Tensor,
    normalizers: tuple[str, ...],
    weight: Tensor,
    bias: Tensor,
    num_groups: int = 1,
    eps: float = 1e-5,
    running: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Eq. 1 in training, each normalizer measuring the whole map by itself, FBN nothing."""
    spatial = tuple(range(2, x.dim()))
    n, c = x.shape[:2]

    def measure(name: str) -> tuple[Tensor, Tensor]:
        if name == 'FBN':
            mean, var = running
            return mean.reshape(per_channel), var.reshape(per_channel)
        if name == 'GN':
            grouped = x.reshape(n, num_groups, -1)
            mean = grouped.mean(2, keepdim=True).expand_as(grouped).reshape(x.shape)
            var = grouped.var(2, correction=0, keepdim=True).expand_as(grouped).reshape(x.shape)
            return mean, var
        dims = {'IN': spatial, 'LN': (1, *spatial), 'BN': (0, *spatial)}[name]
        return x.mean(dims, keepdim=True), x.var(dims, correction=0, keepdim=True)

    per_channel = (1, c, *(1 for _ in spatial))
    moments = [measure(name) for name in normalizers]
    mean = sum(p * m for p, (m, _) in zip(ratios[0], moments, strict=True))
    var = sum(p * v for p, (_, v) in zip(ratios[1], moments, strict=True))
    y = (x - mean) / (var + eps).sqrt()
    return weight.reshape(per_channel) * y + bias.reshape(per_channel)


def torch_norm(name: str, num_features: int, spatial: int, num_groups: int) -> torch.nn.Module:
    """The torch module that an SSN which selected ``name`` must equal."""
    if name in ('LN', 'GN'):
        return torch.nn.GroupNorm(1 if name == 'LN' else num_groups, num_features)
    kind = {'BN': 'BatchNorm', 'IN': 'InstanceNorm', 'FBN': 'BatchNorm'}[name]
    module = getattr(torch.nn, f'{kind}{spatial}d')
    return module(num_features, affine=True)


class AuthorsNorm(torch.nn.Module):
    """The authors' SN and SSN layers in evaluation, from their description, with their state."""

    def __init__(self, num_features: int, sparse: bool = False) -> None:
        super().__init__()
        self.sparse = sparse
        for name, shape in (('weight', (1, num_features, 1, 1)), ('bias', (1, num_features, 1, 1))):
            self.register_parameter(name, torch.nn.Parameter(torch.rand(shape)))
        for name in ('mean_weight', 'var_weight'):
            self.register_parameter(name, torch.nn.Parameter(torch.rand(3)))
        self.register_buffer('running_mean', 0.1 * torch.randn(1, num_features, 1))
        self.register_buffer('running_var', 0.5 + torch.rand(1, num_features, 1))
        if sparse:
            self.register_buffer('mean_fixed', torch.tensor([0]))
            self.register_buffer('var_fixed', torch.tensor([0]))
            self.register_buffer('radius', torch.tensor([0.3]))

    def ratios(self, name: str) -> Tensor:
        z = getattr(self, f'{name}_weight').detach()
        if not self.sparse:
            return z.softmax(0)
        if getattr(self, f'{name}_fixed').item():
            return z
        return sparsestmax(z.double(), self.radius.item()).to(z)

    def forward(self, x: Tensor) -> Tensor:
        maps = x.flatten(2)
        mean, var = maps.mean(2, keepdim=True), maps.var(2, keepdim=True)  # unbiased
        square = var + mean**2
        layer = mean.mean(1, keepdim=True)
        means = (mean, layer, self.running_mean)
        variances = (var, square.mean(1, keepdim=True) - layer**2, self.running_var)
        mixed = sum(p * m for p, m in zip(self.ratios('mean'), means, strict=True))
        spread = sum(p * v for p, v in zip(self.ratios('var'), variances, strict=True))
        y = (maps - mixed) / (spread + 1e-5).sqrt()
        return y.view_as(x) * self.weight + self.bias
