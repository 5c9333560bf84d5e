"""What a switchable normalization computes, and the tensors per channel that it computes with."""

from typing import NamedTuple

from torch import Tensor


class Norm(NamedTuple):
    """The immutable description of a switchable normalization (Eq. 1), beside its tensors.

    Attributes:
        normalizers: Names out of 'IN', 'LN', 'BN', 'GN', in the order of the ratios' columns.
        eps: ε, added to the mixed variance.
        num_groups: Number of GN's groups of channels.
        sync: Whether BN's batch statistics span all processes of the default group.
        correction: Elements that IN's variance is short of, as in ``torch.var``; 0 or 1.
        source: What the logits that go with it are: 'ratios', the importance ratios themselves;
            'logits', of which SparsestMax makes the ratios; or 'selected', where they are not
            looked at, since ``normalizers`` are the one of mean and variance, or two, that of the
            mean and that of the variance.
    """

    normalizers: tuple[str, ...]
    eps: float = 1e-5
    num_groups: int = 32
    sync: bool = False
    correction: int = 0
    source: str = 'ratios'

    @property
    def names(self) -> str:
        """The normalizers as operators take them: with commas between."""
        return ','.join(self.normalizers)


class PerChannel(NamedTuple):
    """Tensors (C,) of a normalization; each may be None.

    Attributes:
        weight: γ; None for 1.
        bias: β; None for 0.
        running_mean: BN's running mean.
        running_var: BN's running variance, unbiased.
    """

    weight: Tensor | None = None
    bias: Tensor | None = None
    running_mean: Tensor | None = None
    running_var: Tensor | None = None
