"""The description of a switchable normalization, its logits, and its tensors per channel."""

from typing import NamedTuple

from torch import Tensor


class Norm(NamedTuple):
    """The immutable description of a switchable normalization (Eq. 1), beside its tensors.

    Attributes:
        normalizers: Names out of 'IN', 'LN', 'BN', 'GN', 'FBN', in the order of the ratios'
            columns. To a backend 'BN' always measures the batch and 'FBN' always reads the running
            statistics; where BN uses these, it has got the name 'FBN', which may then occur twice.
        eps: ε, added to the mixed variance.
        num_groups: Number of GN's groups of channels.
        sync: Whether BN's batch statistics span all processes of the default group.
        correction: 1 if IN's variance is unbiased, as in ``torch.var``, and the others derive from
            it; else 0. Only the reference backend computes it.
        source: What the values of the ``Logits`` beside it are: 'ratios', the importance ratios
            themselves; or 'logits', which SparsestMax turns into ratios. With 'selected' they do
            not count: ``normalizers`` then are the selected ones, one for both mean and variance,
            or that of the mean and that of the variance.
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

    @property
    def measures(self) -> bool:
        """Whether a normalizer measures the map, as all but FBN do."""
        return any(name != 'FBN' for name in self.normalizers)


class Logits(NamedTuple):
    """What the importance ratios of a switchable normalization are made of.

    Attributes:
        values: (2, K), row 0 for the means, row 1 for the variances; ``Norm.source`` says what
            they are.
        radius: 0-d, Euclidean distance on the simplex plane, at least 0, where SparsestMax turns
            the values into ratios; else None.
    """

    values: Tensor
    radius: Tensor | None = None


class PerChannel(NamedTuple):
    """Tensors (C,) of a normalization; each may be None.

    Attributes:
        weight: γ; None for 1.
        bias: β; None for 0.
        running_mean: The running mean of BN and FBN.
        running_var: The running variance of BN and FBN, unbiased.
    """

    weight: Tensor | None = None
    bias: Tensor | None = None
    running_mean: Tensor | None = None
    running_var: Tensor | None = None
