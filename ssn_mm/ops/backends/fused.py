"""Eq. 1 as one operator: two reductions over the map, two maps over it, and mixing between them.

The forward pass measures instance moments and writes y = γR·(x - M) + β. The backward pass sums Σdy
and Σdy·(x - M), and writes dx = γR·dy + slope·(x - mean) + offset. Between them it keeps x and the
numbers (N, C) of ``saved``. The kernels of a backend do the passes over the map; ``mix`` has what
lies between.
"""

import torch
from torch import Tensor

from ..dispatch import load_kernels
from ..norm import Logits, Norm, PerChannel
from ..running_stats import Update, update_running
from ..tracing import is_batched, is_traced
from .mix import Mixed
from .reference import switch_norm as reference_switch_norm
from .saved import Saved, share_of, state_size, unpack

# An operator takes no records, so a Norm is source, normalizers, eps, num_groups and sync here.
# Besides y it returns the ratios (2, K); the state, see ``saved``; and BN's batch mean and biased
# variance, (2, C), or (2, 0) without BN.
_LIBRARY = torch.library.Library('ssn_mm', 'DEF')
_LIBRARY.define(
    'switch_norm(Tensor x, Tensor logits, Tensor? weight, Tensor? bias, Tensor? radius, '
    'Tensor? running_mean, Tensor? running_var, str source, str normalizers, float eps, '
    'int num_groups, bool sync, str kernels) -> '
    '(Tensor y, Tensor ratios, Tensor state, Tensor batch)'
)
_LIBRARY.define(
    'switch_norm_backward(Tensor dy, Tensor x, Tensor logits, Tensor? weight, '
    'Tensor? running_mean, Tensor? running_var, Tensor ratios, Tensor state, Tensor batch, '
    'str source, str normalizers, int num_groups, bool sync, str kernels) -> '
    '(Tensor dx, Tensor dlogits, Tensor dweight, Tensor dbias)'
)
_LIBRARY.define(
    'switch_norm_gradients(Tensor dy, Tensor x, Tensor logits, Tensor? weight, Tensor? bias, '
    'Tensor? radius, Tensor? running_mean, Tensor? running_var, str source, str normalizers, '
    'float eps, int num_groups, bool sync) -> Tensor[]'
)


def switch_norm(
    x: Tensor,
    logits: Logits,
    norm: Norm,
    channels: PerChannel,
    update: Update | None,
    kernels: str = '',
) -> tuple[Tensor, Tensor]:
    """Normalizes as ``reference.switch_norm`` does, with the kernels of a backend.

    For second derivatives it calls the reference, whose steps autograd can differentiate again.

    Args:
        x: The map, (N, C, *spatial).
        logits: What the ratios are made of.
        norm: The description, without the normalizers that do not fit the shape.
        channels: γ and β; and the running statistics that FBN reads.
        update: Running statistics to update with the batch's; None for none.
        kernels: Name of the backend; '' for the best.

    Returns:
        ``y`` like ``x``, and the ratios (2, K), detached.

    Raises:
        RuntimeError: The kernels are not for this tensor or this machine.
    """
    values, radius = logits
    weight, bias, running_mean, running_var = channels
    others = (radius, running_mean, running_var, *_flat(norm), kernels)
    if is_traced(x):
        y, ratios, state, batch = torch.ops.ssn_mm.switch_norm(x, values, weight, bias, *others)
    else:  # one argument for all that autograd need not look at
        y, ratios, state, batch = _SwitchNorm.apply(x, values, weight, bias, others)
    if update is not None:
        elements: int | Tensor = x.numel() // x.size(1)
        count = elements / share_of(state) if norm.sync else elements
        update_running(update, ratios, batch[0], batch[1], count)
    return y, ratios


def _flat(norm: Norm) -> tuple[str, str, float, int, bool]:
    return norm.source, norm.names, norm.eps, norm.num_groups, norm.sync


def _norm(
    source: str, names: str, eps: float, num_groups: int, sync: bool, running_mean: Tensor | None
) -> Norm:
    if running_mean is not None and 'FBN' not in names:  # a program from before there was FBN
        names = names.replace('BN', 'FBN')
    return Norm(tuple(names.split(',')), eps, num_groups, sync, source=source)


def _forward(
    x, logits, weight, bias, radius, running_mean, running_var,
    source, normalizers, eps, num_groups, sync, kernels,
):  # fmt: skip
    backend = load_kernels(kernels, x)
    norm = _norm(source, normalizers, eps, num_groups, sync, running_mean)
    x = _dense(x)
    wide = torch.float64 if x.dtype is torch.float64 else torch.float32
    given = (logits, radius, weight, bias, running_mean, running_var)
    values, radius, *channels = (_cast(t, wide) for t in given)
    logits, channels = Logits(values, radius), PerChannel(*channels)
    if backend.forward is not None and not sync:
        return backend.forward(x, logits, norm, channels)
    if norm.measures:
        mean, var = backend.moments(x)
    else:
        mean, var = x.new_zeros(2, *x.shape[:2], dtype=wide).unbind()
    if sync:
        joint, share = backend.joint_moments(mean, var, x.numel() // x.size(1))
    else:
        joint, share = None, mean.new_ones(1)
    mixed = backend.mix(mean, var, logits, norm, channels, joint)
    y = backend.affine(x, mixed.shift, mixed.scale, channels.bias)
    maps = (mean, var, mixed.shift, mixed.rstd, mixed.scale)
    state = Saved(*maps, mixed.stretch, mixed.bend, share).pack()
    return y, mixed.ratios, state, mixed.batch


def _backward(
    dy, x, logits, weight, running_mean, running_var, ratios, state, batch,
    source, normalizers, num_groups, sync, kernels,
):  # fmt: skip
    backend = load_kernels(kernels, x)
    norm = _norm(source, normalizers, 0.0, num_groups, sync, running_mean)
    x = _dense(x)
    dy = _like_map(dy, x)
    wide = state.dtype
    given = (logits, weight, running_mean, running_var)
    logits, weight, running_mean, running_var = (_cast(t, wide) for t in given)
    channels = PerChannel(weight, None, running_mean, running_var)
    if backend.backward is not None and not sync:
        dx, dlogits, dweight, dbias = backend.backward(dy, x, logits, ratios, state, norm, channels)
    else:
        saved = unpack(state, *x.shape[:2])
        mean, scale = saved.mean, saved.scale
        mixed = Mixed(ratios, saved.stretch, saved.bend, saved.shift, saved.rstd, scale, batch)
        sums = backend.sums(dy, x, saved.shift)
        area, share = x[0, 0].numel(), saved.share if sync else None
        slope, offset, dlogits, dweight, dbias = backend.mix_backward(
            mixed, (mean, saved.var), sums, logits, norm, channels, area, share
        )
        if norm.measures:
            dx = backend.affine_grad(dy, x, mean, scale, slope, offset)
        else:  # slope and offset are 0, so that the map is not needed
            dx = backend.affine(dy, offset, scale, None)
        if dlogits is None:
            dlogits = torch.zeros_like(logits)
    like_logits, like_weight = given[:2]
    if like_logits.dtype is not wide:
        dlogits = dlogits.to(like_logits.dtype)
    if like_weight is not None and like_weight.dtype is not wide:
        dweight, dbias = dweight.to(like_weight.dtype), dbias.to(like_weight.dtype)
    return dx, dlogits, dweight, dbias


def _forward_fake(
    x, logits, weight, bias, radius, running_mean, running_var,
    source, normalizers, eps, num_groups, sync, kernels,
):  # fmt: skip
    n, c = x.shape[:2]
    names = _norm(source, normalizers, eps, num_groups, sync, running_mean).normalizers
    shapes = [(2, len(names)), (state_size(n, c),), (2, c if 'BN' in names else 0)]
    wide = torch.promote_types(x.dtype, torch.float32)
    return torch.empty_like(_dense(x)), *(x.new_empty(shape, dtype=wide) for shape in shapes)


def _backward_fake(dy, x, logits, weight, running_mean, running_var, ratios, state, *_):
    like = state if weight is None else weight
    per_channel = [like.new_empty(x.size(1)) for _ in range(2)]
    return torch.empty_like(_dense(x)), torch.empty_like(logits), *per_channel


def _setup_context(ctx, inputs, output):
    ctx.mark_non_differentiable(*output[1:])
    ctx.save_for_backward(*inputs[:7], *output[1:])
    ctx.options = inputs[7:13]
    ctx.set_materialize_grads(False)


def _gradients(ctx, dy, *_):
    *inputs, ratios, state, batch = ctx.saved_tensors
    source, normalizers, eps, num_groups, sync, kernels = ctx.options
    x, logits, weight, bias, _, running_mean, running_var = inputs
    if dy is None:
        return (None,) * 13
    if torch.is_grad_enabled() or is_batched(dy):  # a second derivative, or many at once
        options = (source, normalizers, eps, num_groups, sync)
        grads = torch.ops.ssn_mm.switch_norm_gradients(dy, *inputs, *options)
    else:
        run = torch.ops.ssn_mm.switch_norm_backward if is_traced(dy) else _backward
        grads = run(
            *(dy, x, logits, weight, running_mean, running_var, ratios, state, batch),
            *(source, normalizers, num_groups, sync, kernels),
        )
    given = zip(grads, (x, logits, weight, bias), strict=True)
    return *(grad if t is not None else None for grad, t in given), *(None,) * 9


def _differentiable_gradients(
    dy, x, logits, weight, bias, radius, running_mean, running_var,
    source, normalizers, eps, num_groups, sync,
):  # fmt: skip
    """The reference's gradients for x, logits, weight and bias; empty for what needs none."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        norm = _norm(source, normalizers, eps, num_groups, sync, running_mean)
        channels = PerChannel(weight, bias, running_mean, running_var)
        y, _ = reference_switch_norm(x, Logits(logits, radius), norm, channels, None)
    given = (x, logits, weight, bias)
    wanted = [t for t in given if t is not None and t.requires_grad]
    found = iter(torch.autograd.grad(y, wanted, dy, create_graph=again))
    return [next(found) if t is not None and t.requires_grad else dy.new_empty(0) for t in given]


class _SwitchNorm(torch.autograd.Function):
    # one forward, since PyTorch binds the arguments of a separate setup_context slowly
    @staticmethod
    def forward(ctx, x, logits, weight, bias, others):
        inputs = (x, logits, weight, bias, *others)
        output = _forward(*inputs)
        _setup_context(ctx, inputs, output)
        return output

    @staticmethod
    def backward(ctx, *gradients):
        return _gradients(ctx, *gradients)[:5]


for _device in ('CPU', 'CUDA'):
    _LIBRARY.impl('switch_norm', _forward, _device)
    _LIBRARY.impl('switch_norm_backward', _backward, _device)
# plain PyTorch for all tensors; 'Batched' are those of torch.autograd.grad(is_grads_batched=True)
for _kind in ('CompositeImplicitAutograd', 'Batched'):
    _LIBRARY.impl('switch_norm_gradients', _differentiable_gradients, _kind)
torch.library.register_fake('ssn_mm::switch_norm', _forward_fake, lib=_LIBRARY)
torch.library.register_fake('ssn_mm::switch_norm_backward', _backward_fake, lib=_LIBRARY)
torch.library.register_autograd(
    'ssn_mm::switch_norm', _gradients, setup_context=_setup_context, lib=_LIBRARY
)


def _dense(x: Tensor) -> Tensor:
    """The map itself where it is contiguous or channels last, else a contiguous copy."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    if x.is_contiguous() or (
        x.dim() in formats and x.is_contiguous(memory_format=formats[x.dim()])
    ):
        return x
    return x.contiguous()


def _like_map(dy: Tensor, x: Tensor) -> Tensor:
    if dy.stride() == x.stride() and dy.dtype == x.dtype:
        return dy
    return torch.empty_like(x).copy_(dy)


def _cast(t: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    return t if t is None or (t.dtype == dtype and t.is_contiguous()) else t.to(dtype).contiguous()
