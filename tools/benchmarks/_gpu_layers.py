"""The layers, the network and the training steps that the parts of ``gpu_check.py`` try."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ssn_mm import SN, SSN, keep_selected, set_backend, set_radius
from ssn_mm.ops import NORMALIZERS

GPU = torch.cuda.is_available()
DEVICE = 'cuda' if GPU else 'cpu'
KINDS = (
    'competing',
    'of all',
    'SN',
    'selected BN',
    'selected LN',
    'selected IN',
    'selected BN, LN',
)


def make_layer(kind: str, channels: int) -> nn.Module:
    """A layer whose rows compete or have selected; γ and β are random."""
    groups = min(32, channels // 2) or 1
    options = dict(normalizers=NORMALIZERS, num_groups=groups) if kind == 'of all' else {}
    layer = SN(channels) if kind == 'SN' else SSN(channels, **options)
    with torch.no_grad():
        layer.weight.uniform_(0.5, 1.5), layer.bias.normal_()
        if 'FBN' in layer.normalizers:
            layer.running_mean.normal_(), layer.running_var.uniform_(0.5, 1.5)
        layer.ratio_logits.add_(0.1 * torch.randn(layer.ratio_logits.shape))
        if kind.startswith('selected'):
            pair = kind.removeprefix('selected ').split(', ')
            for row, selected in zip(layer.ratio_logits, (pair[0], pair[-1]), strict=True):
                row.copy_(torch.tensor([float(n == selected) for n in layer.normalizers]))
    layer.to(DEVICE)
    set_radius(layer, 1.0 if kind.startswith('selected') else 0.3)
    for _ in range(2):  # the CPU learns of selections on a GPU a call later
        if isinstance(layer, SSN):
            keep_selected(layer)
        if GPU:
            torch.cuda.synchronize()
    return layer


def results(layer: nn.Module, x: Tensor, dy: Tensor) -> list[Tensor]:
    """A layer's output, and the gradients for the map, the logits, γ and β."""
    x = x.detach().requires_grad_()
    y = layer(x)
    inputs = [x, layer.ratio_logits, layer.weight, layer.bias]
    return [y.detach(), *torch.autograd.grad(y, inputs, dy)]


def exact_results(layer: nn.Module, x: Tensor, dy: Tensor) -> list[Tensor]:
    """The :func:`results` of a layer in float64, by the reference."""
    before = set_backend('reference')
    try:
        return results(layer, x.double(), dy.double())
    finally:
        set_backend(before)


def off(got: Tensor, want: Tensor) -> float:
    """The largest error of ``got``, relative to the largest number of ``want``."""
    largest = want.abs().max().item()
    return (got.double() - want).abs().max().item() / max(largest, 1e-30)


class Net(nn.Module):
    """A small network with SSN where a step may fail: at maps of one pixel, without momentum."""

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        self.stem, self.body = nn.Conv2d(3, channels, 3), nn.Conv2d(channels, channels, 3)
        self.pooled = nn.Conv2d(channels, channels, 1)
        self.norms = nn.ModuleList(SSN(channels) for _ in range(3))
        self.norms.append(SSN(channels, momentum=None))
        self.head = nn.Linear(channels, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norms[0](self.stem(x)).relu()
        x = self.norms[1](self.body(x)).relu()
        x = x + self.norms[2](self.pooled(x.mean((2, 3), keepdim=True)))
        return self.head(self.norms[3](x).mean((2, 3)))


def make_net(radius: float = 0.3) -> tuple[Net, torch.optim.Optimizer]:
    torch.manual_seed(0)
    net = Net().to(DEVICE)
    set_radius(net, radius)
    return net, torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)


def train(net: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, t: Tensor) -> Tensor:
    """Takes one training step; returns its loss, which stays on the device."""
    loss = (net(x) - t).square().mean()
    optimizer.zero_grad(set_to_none=False)
    loss.backward()
    optimizer.step()
    keep_selected(net)
    return loss


def batch() -> tuple[Tensor, Tensor]:
    return torch.randn(8, 3, 20, 20, device=DEVICE), torch.randn(8, 10, device=DEVICE)


def step_of(layer: nn.Module, x: Tensor, dtype: torch.dtype) -> Callable[[], None]:
    """A function that runs a layer's forward and backward pass."""
    x = x.to(DEVICE, dtype).requires_grad_()
    dy, parameters = torch.randn_like(x), [x, *layer.parameters()]
    return lambda: void(torch.autograd.grad(layer(x), parameters, dy))


def void(_: Any) -> None:
    pass


def timed(run: Callable[[], Any]) -> float:
    """Seconds that a call takes, with the work that it leaves to the GPU."""
    start = time.perf_counter()
    run()
    if GPU:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix('torch.')
