"""The hook that records the ratios of SSN and SN layers while mmengine trains."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from ..layers import SwitchNorm
from . import batchnorm
from .ratios import RATIOS_FILE, append_ratios, stage_of, start_ratios


class RatiosHook(Hook):
    """Records the ratios of every SSN and SN layer; ``SSNRadiusHook`` does, too.

    At an interval it logs, to all of mmengine's visualisation backends, ``ssn/selected`` (share of
    rows that are one-hot) and how many rows chose each normalizer, and appends every layer's
    ratios to ``ssn_ratios.jsonl`` in the work dir, see :mod:`ssn_mm.engine.ratios`.

    Args:
        interval: Iterations between two records.

    Raises:
        ValueError: ``interval`` is below 1, or what
            :func:`ssn_mm.engine.batchnorm.settle` raises.
    """

    # after EMAHook (50), whose copies SSNRadiusHook pins; before LoggerHook (60)
    priority = 55
    radius: float | None = None  # SN has none

    def __init__(self, interval: int = 50) -> None:
        if interval < 1:
            raise ValueError(f'interval must be at least 1 iteration, got {interval}')
        self.interval = interval

    def before_train(self, runner: Runner) -> None:
        """Settles what the run asks of batch norms; opens the file of ratios."""
        batchnorm.settle(runner, unwrapped(runner))
        self.recorded = {
            name: m for name, m in unwrapped(runner).named_modules() if isinstance(m, SwitchNorm)
        }
        self.has_record = False
        if not self.recorded:
            print_log(f'{type(self).__name__}: no SSN or SN layer in the model', 'current')
            return
        self.file = Path(runner.work_dir) / RATIOS_FILE
        if runner.rank == 0:
            names = {name: layer.normalizers for name, layer in self.recorded.items()}
            start_ratios(self.file, names, runner.iter)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        """Records at the interval and in the last iteration."""
        last = runner.iter + 1 == runner.max_iters
        if self.recorded and (last or self.every_n_train_iters(runner, self.interval)):
            self._record(runner)

    def _record(self, runner: Runner) -> None:
        ratios = layer_ratios(self.recorded)
        counts = count_selected(self.recorded, ratios)
        scalars = {'selected': sum(counts.values()) / (2 * len(self.recorded)), **counts}
        if self.radius is not None:
            scalars['radius'] = self.radius
        for name, value in scalars.items():
            runner.message_hub.update_scalar(f'train/ssn/{name}', float(value))
        if runner.rank == 0:
            append_ratios(self.file, runner.iter + 1, self.radius, ratios)
        self.has_record = True


def count_selected(layers: Mapping[str, SwitchNorm], ratios: list) -> Counter:
    """Counts how many rows of all layers chose each normalizer; none chosen counts 0."""
    counts = Counter({name: 0 for layer in layers.values() for name in layer.normalizers})
    for layer, rows in zip(layers.values(), ratios, strict=True):
        counts.update(layer.normalizers[row.index(1.0)] for row in rows if 1.0 in row)
    return counts


def choices_by_stage(layers: Mapping[str, SwitchNorm], ratios: list) -> list[str]:
    """What the rows chose as bars of letters, a line a stage: 'layer1  means BBLI  ...'.

    A letter is a row, the first of its normalizer's name, or a dot where it still competes.
    """
    bars: dict[str, tuple[list[str], list[str]]] = {}
    for (name, layer), rows in zip(layers.items(), ratios, strict=True):
        for bar, row in zip(bars.setdefault(stage_of(name), ([], [])), rows, strict=True):
            bar.append(layer.normalizers[row.index(1.0)][0] if 1.0 in row else '.')
    order = ''.join(dict.fromkeys(n[0] for m in layers.values() for n in m.normalizers)) + '.'
    width = max(map(len, bars))
    most = max(len(means) for means, _ in bars.values())
    return [
        f'  {stage.ljust(width)}  means {"".join(sorted(means, key=order.index)).ljust(most)}'
        f'  variances {"".join(sorted(variances, key=order.index))}'
        for stage, (means, variances) in bars.items()
    ]


@torch.no_grad()
def layer_ratios(layers: Mapping[str, SwitchNorm]) -> list:
    """Ratios of all layers as nested lists, with a single transfer from the device."""
    ratios = [layer.ratios().flatten() for layer in layers.values()]
    flat = iter(torch.cat(ratios).tolist())
    return [
        [[next(flat) for _ in layer.normalizers] for _ in range(2)] for layer in layers.values()
    ]


def unwrapped(runner: Runner) -> nn.Module:
    """The model without its distributed wrapper."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model
