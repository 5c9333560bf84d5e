"""What an SSN knows of its selection from one call to the next."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .sharded import is_sharded

_DRIFT = 0.5  # a row farther than this from its vertex was set by hand, not by an optimizer


class Selection:
    """What is known of a layer's ratio logits without a look at their values.

    It is no part of the state: the logits alone say what is selected. It tells ``keep_selected``
    what a step was taken with and, on devices where a look at values would stall, the forward pass
    what was selected. It holds for one tensor object only, so copies and pickles start without.

    Attributes:
        ran: The logits of the last forward pass with gradients since ``keep_selected``, their
            version, and their ratios (2, K).
        kept: The logits that ``keep_selected`` left, their version and address, and the vertices
            (2, K) of selected rows, 0 in the others.
        names: Normalizers of mean and variance that ``kept`` selects, where both rows are selected
            and this is known.
        under_way: What a group of layers on a GPU has selected, on its way to the CPU, and the
            event of its arrival; the first layer of the group holds it.
        columns: Where ``kept`` has its ones, see :meth:`note_step`, where this is known.
        step: What the last step found out that may hold for the next one, see :mod:`.known_step`.
        has_radius: Whether somebody sets the layer's radius.
    """

    ran: tuple[Tensor, int, Tensor] | None = None
    kept: tuple[Tensor, int, int, Tensor] | None = None
    names: tuple[str, str] | None = None
    under_way: tuple[Tensor, torch.cuda.Event] | None = None
    columns: tuple[int, int] | None = None
    step: Any = None

    def __init__(self, has_radius: bool = False) -> None:
        self.has_radius = has_radius

    def __reduce__(self) -> tuple[type, tuple[bool]]:
        return Selection, (self.has_radius,)

    def forget(self) -> None:
        """Forgets all that is known of the logits, since others have come."""
        self.ran = self.kept = self.names = self.under_way = self.columns = None

    def known(self, logits: Tensor) -> tuple[str, str] | None:
        """The normalizers that were selected; None if unknown, or if logits were written to."""
        if self.kept is None or self.kept[0] is not logits:
            return None
        if self.is_written(logits):
            self.kept = self.names = None
        return self.names

    def is_written(self, logits: Tensor) -> bool:
        """Whether these are other logits than ``keep_selected`` left, or may have other values."""
        if self.kept is None:
            return True
        tensor, version, address, _ = self.kept
        return tensor is not logits or version != _version(logits) or address != _address(logits)

    def is_replaced(self, logits: Tensor) -> bool:
        """Whether logits came from elsewhere, not from a step, since ``keep_selected``."""
        return self.kept is None or (self.ran is None and self.is_written(logits))

    def is_stepped(self, logits: Tensor) -> bool:
        """Whether the logits of the last forward pass with gradients have been written to since."""
        return self.ran is not None and self.ran[0] is logits and self.ran[1] != _version(logits)

    def note_run(
        self, logits: Tensor, ratios: Tensor | None, names: tuple[str, str] | None
    ) -> None:
        """Notes a forward pass with ``ratios`` (2, K), or None where ``names`` were selected.

        Of several steps since ``keep_selected``, as of L-BFGS or of two losses, a row keeps what it
        had selected in the first.
        """
        if ratios is None:
            kept = self.kept
            same = kept is not None and kept[0] is logits and self.names == names
            ratios = kept[3] if kept is not None and same else logits.detach().clone()
        version, earlier = _version(logits), self.ran
        stepped = earlier is not None and earlier[0] is logits and earlier[1] != version
        if earlier is not None and stepped and not torch.compiler.is_compiling():
            before = earlier[2].to(ratios)
            held = (before == 1).any(-1, keepdim=True) & _is_near(logits.detach(), before)
            ratios = before.where(held, ratios)
        self.ran = (logits, version, ratios)

    def note_kept(self, logits: Tensor, vertices: Tensor) -> None:
        """Notes what ``keep_selected``, or loading, has left: vertices (2, K), 0 in other rows."""
        self.kept = (logits, _version(logits), _address(logits), vertices)
        self.ran = self.columns = None

    def note_step(
        self, logits: nn.Parameter, columns: tuple[int, int], normalizers: Sequence[str]
    ) -> None:
        """Notes what was kept after a step with plain logits on the CPU, and what that selects.

        Args:
            logits: The layer's.
            columns: Where its two rows have their 1; -1 where a row competes.
            normalizers: The layer's.
        """
        kept, (mean, var) = self.kept, columns
        if kept is None or kept[0] is not logits or self.columns != columns:
            choices = torch.arange(len(normalizers)).expand(2, -1)
            vertices = (choices == torch.tensor(columns)[:, None]).to(logits)
            self.columns = columns
            self.note_names((normalizers[mean], normalizers[var]) if min(columns) >= 0 else None)
        else:
            vertices = kept[3]
        self.kept = (logits, logits._version, logits.data_ptr(), vertices)
        self.ran = self.under_way = None

    def note_names(self, names: tuple[str, str] | None) -> None:
        """Notes which normalizers ``kept`` selects; None where a row still competes."""
        self.names = names
        if self.step is not None and self.step.names != names:
            self.step = None  # other kernels compute what is selected

    def ratios_of_run(self, logits: Tensor) -> Tensor | None:
        """Ratios (2, K) that a step was taken with; None if these logits did not run."""
        if self.ran is not None and (self.ran[0] is logits or is_sharded(logits)):
            return self.ran[2]
        return None

    def vertices_of_rest(self, logits: Tensor, values: Tensor, now: Tensor) -> Tensor:
        """Ratios (2, K) to keep of a layer that did not run since ``keep_selected``.

        Momentum and decay may have moved it all the same; a row that is far from its vertex was
        set by hand, and is as ``now``.

        Args:
            logits: The layer's.
            values: Their values, (2, K).
            now: Their ratios, (2, K).
        """
        if self.kept is None or self.kept[0] is not logits:
            return now
        vertices = self.kept[3].to(now)
        return vertices.where(_is_near(values, vertices), now)


def _is_near(logits: Tensor, vertices: Tensor) -> Tensor:
    """Which rows are so near to their vertices that an optimizer moved them, (2, 1)."""
    return (logits - vertices).abs().amax(-1, keepdim=True) < _DRIFT


def restore_vertices(logits: Tensor, then: Tensor, now: Tensor) -> tuple[Tensor, Tensor]:
    """Puts rows that were one-hot in the step, or are one-hot now, on their vertex.

    Args:
        logits: (..., 2, K), float32 or wider.
        then: Ratios that the step was taken with, in logits' shape and dtype.
        now: Ratios of ``logits``, in their shape and dtype.

    Returns:
        The logits, and the vertices (..., 2, K) of selected rows, 0 in the others.
    """
    # the step may have moved a row off its vertex, so the ratios that it was taken with come first
    vertices = torch.where((then == 1).any(-1, keepdim=True), then == 1, now == 1)
    selected = vertices.any(-1, keepdim=True)
    vertices = vertices.to(logits)
    return vertices.where(selected, logits), vertices


def selected_names(
    rows: Sequence[Sequence[float]], normalizers: Sequence[str]
) -> tuple[str, str] | None:
    """The normalizers of mean and variance if both rows of logits are vertices, else None."""
    mean, var = rows
    others = len(normalizers) - 1
    if mean.count(0.0) != others or var.count(0.0) != others or 1.0 not in mean or 1.0 not in var:
        return None
    return normalizers[mean.index(1.0)], normalizers[var.index(1.0)]


def _version(logits: Tensor) -> int:
    """How often PyTorch has seen the logits written to; -1 where it does not count."""
    if torch.compiler.is_compiling() or logits.is_inference():
        return -1
    return logits._version


def _address(logits: Tensor) -> int:
    """Where the logits lie in memory; -1 for sharded ones."""
    return -1 if is_sharded(logits) else logits.data_ptr()
