"""FBN's running statistics: whether they are there, and what a step makes of them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..ops.running_stats import Update, batch_statistics, update_running
from .correction import Corrected
from .sharded import has_values


class RunningStatistics(Corrected):
    """A layer with the running statistics that BN and FBN share, and the option ``update_fbn``.

    Attributes:
        measured_rows: Of which statistics, mean and variance, FBN takes the batch's in place of the
            running ones, as BN does in training. Set by what measures them, for that time.
    """

    normalizers: tuple[str, ...]
    sync: bool
    track_running_stats: bool
    update_fbn: bool
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None
    measured_rows = (False, False)
    _has_fbn: bool
    _has_statistics = False  # whether the first step has found them

    def _set_statistics(
        self, normalizers: Sequence[str], track_running_stats: bool, update_fbn: bool
    ) -> None:
        """Sets the options.

        Raises:
            ValueError: FBN has no running statistics, or ``update_fbn`` is for nothing.
        """
        has_fbn = 'FBN' in normalizers
        if has_fbn and not track_running_stats:
            raise ValueError(
                f'FBN, one of {tuple(normalizers)}, normalizes by running statistics, and '
                'track_running_stats=False leaves them out; set it to True, or use BN'
            )
        if update_fbn and not has_fbn:
            raise ValueError(
                f'update_fbn=True, but FBN is not among {tuple(normalizers)}; add it, or leave '
                'update_fbn out'
            )
        self.track_running_stats, self.update_fbn = track_running_stats, update_fbn
        self._has_fbn = has_fbn

    def _register_statistics(self, num_features: int, like: dict[str, Any]) -> None:
        tracks = self.track_running_stats and not {'BN', 'FBN'}.isdisjoint(self.normalizers)
        for name in ('running_mean', 'running_var'):
            self.register_buffer(name, torch.empty(num_features, **like) if tracks else None)
        batches = torch.tensor(0, device=like['device']) if tracks else None
        self.register_buffer('num_batches_tracked', batches)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for name in ('update_fbn', '_has_fbn'):  # pickled as a whole before there was FBN
            self.__dict__.setdefault(name, False)

    def reset_running_stats(self) -> None:
        """Sets the running statistics to 0 and 1, as ``nn.BatchNorm2d`` does."""
        if self.running_mean is not None:
            self.running_mean.zero_()
            self.running_var.fill_(1)  # type: ignore[union-attr]
            self.num_batches_tracked.zero_()  # type: ignore[union-attr]
            self._has_statistics = False

    def lacks_statistics(self) -> bool:
        """Whether the layer has FBN, and its statistics were neither measured nor loaded.

        They are those of a new layer then: mean 0, variance 1, and no batch tracked. False where
        values cannot be read, as on the meta device.
        """
        mean, var, batches = self.running_mean, self.running_var, self.num_batches_tracked
        if not self._has_fbn or mean is None or not has_values(mean):
            return False
        return not (mean.any() | (var != 1).any() | batches.bool())  # type: ignore[union-attr]

    def _check_statistics(self) -> None:
        """Looks in the layer's first step whether FBN has something to normalize by.

        Raises:
            ValueError: It has not.
        """
        mean = self.running_mean
        if self._has_statistics or self.update_fbn or any(self.measured_rows):
            return
        if mean is None or not has_values(mean):  # a later step will look
            return
        if self.lacks_statistics():
            raise ValueError(f'{type(self).__name__}({len(mean)}): {NO_STATISTICS}')
        self._has_statistics = True

    def _statistics_of_step(
        self, x: Tensor, momentum: float | Tensor, update: bool
    ) -> tuple[Tensor, Tensor]:
        """Measures the batch; returns the mean and variance, (C,), that FBN is to read.

        They are of after the update, so that a step that is computed again sees the same.

        Args:
            x: The map, (N, C, *spatial).
            momentum: Weight of the batch in the running statistics.
            update: Whether to update them.
        """
        running: tuple[Any, Any] = self.running_mean, self.running_var
        if not (update or any(self.measured_rows)):
            return running[0].clone(), running[1].clone()
        mean, var, count = batch_statistics(x, self.sync)
        if update and not (isinstance(count, int) and count < 2):  # one value has no variance
            update_running(Update(*running, momentum), None, mean, var, count)
        read = [
            own if measured else kept.clone()  # which the next step writes to
            for own, kept, measured in zip((mean, var), running, self.measured_rows, strict=True)
        ]
        return read[0], read[1]

    def extra_repr(self) -> str:
        said = super().extra_repr()
        said += '' if self.track_running_stats else ', track_running_stats=False'
        return said + (', update_fbn=True' if self.update_fbn else '')


NO_STATISTICS = (
    'FBN normalizes by running statistics, which were neither measured nor loaded: the mean is 0 '
    'and the variance 1 in all channels, and no batch was tracked. Load a checkpoint, or convert '
    'a trained network with ssn_mm.convert_norms; measure them before training with '
    'ssn_mm.update_bn(loader, model); or have each step update them with update_fbn=True'
)
