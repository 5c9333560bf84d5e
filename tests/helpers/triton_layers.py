"""A layer made of the Triton kernels, for their tests and what compiles them."""

import torch

from ssn_mm.ops import Logits, Norm, PerChannel
from ssn_mm.ops.backends import triton as kernels

DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
LAYOUTS = ('contiguous', 'channels last')
EPS, GROUPS = 1e-5, 2


def source_of(logits, radius):
    """What logits are, if any; without them the normalizers are those that were selected."""
    if logits is None:
        return 'selected'
    return 'ratios' if radius is None else 'logits'


def run_layer(x, dy, logits, radius, weight, bias, running, names, passes=kernels):
    """The kernels in the order of a layer's passes."""
    mean, var = passes.moments(x)
    norm = Norm(tuple(names), EPS, GROUPS, source=source_of(logits, radius))
    channels = PerChannel(weight, bias, *running)
    mixed = kernels.mix(mean, var, Logits(logits, radius), norm, channels)
    y = passes.affine(x, mixed.shift, mixed.scale, bias)
    both = passes.sums(dy, x, mixed.shift)
    slope, offset, *small = kernels.mix_backward(
        mixed, (mean, var), both, logits, norm, channels, x[0, 0].numel()
    )
    dx = passes.affine_grad(dy, x, mean, mixed.scale, slope, offset)
    return mixed, (y, dx, *small)
