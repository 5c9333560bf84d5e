"""The functional normalizations with one flat list of arguments, as tests vary them."""

from ssn_mm import ops
from ssn_mm.ops import Logits, Norm, PerChannel

THREE = ('IN', 'LN', 'BN')


def sparse_switch_norm(
    x, logits, radius, normalizers=THREE, weight=None, bias=None, running_mean=None,
    running_var=None, *, training=False, momentum=0.1, **options,
):  # fmt: skip
    channels = PerChannel(weight, bias, running_mean, running_var)
    norm = Norm(tuple(normalizers), source='logits', **options)
    return ops.normalize(x, Logits(logits, radius), norm, channels, training, momentum)


def selected_norm(
    x, logits, mean, var, weight=None, bias=None, running_mean=None, running_var=None, *,
    training=False, momentum=0.1, **options,
):  # fmt: skip
    channels = PerChannel(weight, bias, running_mean, running_var)
    given = (Norm((), **options), channels)
    return ops.selected_norm(x, logits, mean, var, *given, training=training, momentum=momentum)
