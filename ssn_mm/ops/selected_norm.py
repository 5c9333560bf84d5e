"""Normalizes by selected normalizers, given by name, with torch's own layers where faster."""

import torch
from torch import Tensor

from .dispatch import get_backend, is_kernels_best, load_kernels
from .norm import Logits, Norm, PerChannel
from .normalizers import no_case
from .switch_norm import check_constants, normalize, spans_processes
from .tracing import is_transformed


def selected_norm(
    x: Tensor,
    logits: Tensor,
    mean: str,
    var: str,
    norm: Norm,
    channels: PerChannel = PerChannel(),  # noqa: B008, immutable
    *,
    training: bool = False,
    momentum: float | Tensor = 0.1,
    updates: bool = True,
) -> Tensor:
    """Normalizes as :func:`switch_norm` does with one-hot ratios, which are given by name.

    Only what the selected normalizers need is computed. Running statistics are updated if BN is one
    of them.

    Args:
        x: (N, C, *spatial), floating.
        logits: (2, K), whose values do not count. They stay in the graph and get a gradient of 0,
            since DDP waits for one of every parameter.
        mean: Normalizer of the mean, which fits the shape, see :func:`competing`.
        var: Normalizer of the variance, which fits the shape. Where it is the mean's and torch's
            own layer is faster than the backend, that layer is called.
        norm: The description of the normalization; the selected names take the place of its own.
        channels: γ, β and the running statistics of BN and FBN, (C,).
        training: Whether BN uses the batch's statistics and updates the running ones.
        momentum: Weight of the batch in the running statistics, as in ``nn.BatchNorm2d``.
        updates: Whether training updates them at all; a step that is computed again does not.

    Returns:
        The normalized ``x``.

    Raises:
        ValueError: FBN is selected and there are no running statistics; or what
            :func:`switch_norm` raises.
    """
    batch_stats = training or channels.running_mean is None
    names = (mean,) if mean == var else (mean, var)
    sync = spans_processes(norm.sync, names, batch_stats)
    # several times faster than norm._replace
    norm = Norm(names, norm.eps, norm.num_groups, sync, norm.correction, 'selected')
    if mean != var:
        return normalize(x, Logits(logits), norm, channels, training, momentum, updates)[0]
    check_constants(names, channels)
    if (
        not (sync or norm.correction)
        and isinstance(momentum, float)
        and _fits_torch(mean, x, channels)
        and not _may_be_misread(x)
        and is_faster_in_torch(mean, x)
    ):
        weight = channels.weight
        if weight is None:
            x = _KeepInGraph.apply(x, logits)
        else:
            weight = _KeepInGraph.apply(weight, logits)
        if mean in ('BN', 'FBN'):
            measures = mean == 'BN' and batch_stats
            stats = channels[2:] if updates or not measures else (None, None)
            affine = (weight, channels.bias)
            return torch.nn.functional.batch_norm(x, *stats, *affine, measures, momentum, norm.eps)
        groups = {'IN': x.size(1), 'LN': 1, 'GN': norm.num_groups}
        if mean not in groups:
            raise no_case(mean, 'selected_norm')
        return torch.nn.functional.group_norm(x, groups[mean], weight, channels.bias, norm.eps)
    return normalize(x, Logits(logits), norm, channels, training, momentum, updates)[0]


def _fits_torch(name: str, x: Tensor, channels: PerChannel) -> bool:
    """Whether torch's layer takes these dtypes, and computes half maps in float32.

    On a CPU it computes them in half precision where a gradient is laid out otherwise than the map.
    """
    weight = channels.weight
    given = {t.dtype for t in (weight, channels.running_mean) if t is not None}
    if x.dtype.itemsize == 2:
        return (
            x.is_cuda and name in ('BN', 'FBN') and weight is not None and given == {torch.float32}
        )
    return given <= {x.dtype}


def _may_be_misread(x: Tensor) -> bool:
    """Whether torch's batch norm reads some tensors of this shape in a wrong order.

    A sample of one row, (1, C, 1, W), is contiguous in channels last whatever strides its sides of
    1 have; with some of them, in the map or in its gradient, PyTorch 2.x takes the other order.
    """
    return x.dim() > 3 and x.size(0) == 1 and all(side == 1 for side in x.shape[2:-1])


class _KeepInGraph(torch.autograd.Function):
    """Returns a tensor as it is, and gives logits a gradient of 0."""

    @staticmethod
    def forward(ctx, t, logits):
        ctx.save_for_backward(logits)
        return t.view_as(t)

    @staticmethod
    def backward(ctx, g):
        (logits,) = ctx.saved_tensors
        return g, torch.zeros_like(logits)


def is_faster_in_torch(normalizer: str, x: Tensor) -> bool:
    """Whether torch's own layer beats the backend for ``x`` where one normalizer is selected."""
    name = get_backend()
    if name == 'reference' or is_transformed() or not (name or is_kernels_best(x, True)):
        return False
    return load_kernels(name, x).is_faster_in_torch(normalizer, x)
