"""A layer made of the Triton kernels, for their tests and what compiles them."""

import torch

from ssn_mm.ops.backends import triton as kernels

DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
LAYOUTS = ('contiguous', 'channels last')
EPS, GROUPS = 1e-5, 2


def run_layer(x, dy, logits, radius, weight, bias, running, names, passes=kernels):
    """The kernels in the order of a layer's passes."""
    mean, var = passes.moments(x)
    mixed = kernels.mix(mean, var, logits, radius, weight, *running, names, EPS, GROUPS)
    y = passes.affine(x, mixed.shift, mixed.scale, bias)
    both = passes.sums(dy, x, mixed.shift)
    slope, offset, *small = kernels.mix_backward(
        *(mixed, mean, var, *both, logits, weight, *running),
        *(x[0, 0].numel(), radius is not None, names, GROUPS),
    )
    dx = passes.affine_grad(dy, x, mean, mixed.scale, slope, offset)
    return mixed, (y, dx, *small)
