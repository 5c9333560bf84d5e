"""A small network with a residual block, whose layers selected what a test asks for."""

import torch
from torch import nn

from ssn_mm import SSN, set_radius
from ssn_mm.deploy import fold, freeze
from ssn_mm.deploy.int8_losses import signal_to_noise

BN, IN = (2, 2), (0, 0)
SIZE = (2, 3, 24, 24)


class Residual(nn.Module):
    """A block whose ReLU runs twice and whose sum reads the block's input."""

    def __init__(self):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(8, 8, 3, padding=1), SSN(8)
        self.conv2, self.norm2 = nn.Conv2d(8, 8, 3, padding=1), SSN(8)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        y = self.relu(self.norm1(self.conv1(x)))
        return self.relu(self.norm2(self.conv2(y)) + x)


def network(*selected):
    """A folded network of which each of the three SSNs selected a pair of normalizers."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), SSN(8), nn.ReLU(), nn.MaxPool2d(2), Residual(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
    )  # fmt: skip
    layers = [m for m in model.modules() if isinstance(m, SSN)]
    for layer, pair in zip(layers, selected, strict=True):
        layer.ratio_logits.data.copy_(torch.eye(3)[list(pair)])
    for _ in range(3):
        model(torch.randn(SIZE))
    set_radius(model, 1.0)
    return fold(freeze(model.eval()), torch.randn(SIZE))


def samples(count=8):
    return [torch.randn(1, *SIZE[1:]) for _ in range(count)]


def ratio(found, model):
    """Signal to noise in dB on inputs that did not calibrate."""
    return signal_to_noise(found, model, samples())
