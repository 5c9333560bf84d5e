"""The hook that makes SSN layers choose while mmengine trains."""

import json
import os
from collections import Counter
from pathlib import Path

import torch
from mmengine.hooks import EMAHook, Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from ..layers import SSN, keep_selected, set_radius, ssn_layers
from ..ops.sparsestmax import circumscribed_radius
from . import batchnorm
from .schedules import Schedule, build_schedule, check_schedule

RATIOS_FILE = 'ssn_ratios.jsonl'


class SSNRadiusHook(Hook):
    """Grows the radius of every SSN during training, and keeps what was selected.

    Before each iteration the radius is set to ``schedule(progress)``, progress being 0 in the
    first iteration of the training and 1 in the last, whichever loop runs; a resumed training
    goes on where it stood. After each optimizer step selected rows are pinned to their vertex,
    in EMA copies too.

    At an interval the hook logs, to all of mmengine's visualisation backends, ``ssn/radius``,
    ``ssn/selected`` (share of rows that are one-hot) and how many rows chose each normalizer,
    and appends every layer's ratios to ``ssn_ratios.jsonl`` in the work dir: a header line with
    the layers' names and normalizers, then a line per record.

    Args:
        schedule: See :func:`ssn_mm.engine.schedules.build_schedule`.
        interval: Iterations between two records.

    Raises:
        ValueError: The schedule shrinks, is negative or never reaches r_c; ``interval`` is below
            1; undecided SSN layers are frozen (``frozen_stages``, ``requires_grad=False``); the
            radius is beyond r_c from the start and layers prefer nothing; or what
            :func:`ssn_mm.engine.batchnorm.settle` raises.
    """

    priority = 55  # after EMAHook (50), so that its copies can be pinned; before LoggerHook (60)

    def __init__(self, schedule: str | dict | Schedule = 'linear', interval: int = 50) -> None:
        if interval < 1:
            raise ValueError(f'interval must be at least 1 iteration, got {interval}')
        self.schedule = build_schedule(schedule)
        self.interval = interval

    def before_train(self, runner: Runner) -> None:
        """Checks model and schedule; opens the file of ratios."""
        batchnorm.settle(runner, _unwrapped(runner))
        self.layers = dict(ssn_layers(_unwrapped(runner)))
        if not self.layers:
            print_log('SSNRadiusHook: no SSN layer in the model, no radius to set', 'current')
            return
        largest = max(len(layer.normalizers) for layer in self.layers.values())
        check_schedule(self.schedule, circumscribed_radius(largest))
        _check_trainable(self.layers)
        _check_preferences(self.layers, self.schedule(0.0))
        self.file = Path(runner.work_dir) / RATIOS_FILE
        if runner.rank == 0:
            _start_file(self.file, self.layers, runner.iter)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        """Sets the radius for this iteration."""
        if self.layers:
            progress = runner.iter / max(runner.max_iters - 1, 1)
            self.radius = self.schedule(min(progress, 1.0))
            set_radius(runner.model, self.radius)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        """Pins selected rows; records at the interval and in the last iteration."""
        if not self.layers:
            return
        keep_selected(runner.model)
        for hook in runner.hooks:
            if isinstance(hook, EMAHook):
                _pin_copy(self.layers, dict(ssn_layers(hook.ema_model.module)))
        last = runner.iter + 1 == runner.max_iters
        if last or self.every_n_train_iters(runner, self.interval):
            self._record(runner)

    def _record(self, runner: Runner) -> None:
        ratios = layer_ratios(self.layers)
        counts = count_selected(self.layers, ratios)
        rows = 2 * len(self.layers)
        scalars = {'radius': self.radius, 'selected': sum(counts.values()) / rows, **counts}
        for name, value in scalars.items():
            runner.message_hub.update_scalar(f'train/ssn/{name}', float(value))
        if runner.rank == 0:
            rounded = [[[round(p, 4) for p in row] for row in layer] for layer in ratios]
            record = {'iter': runner.iter + 1, 'radius': round(self.radius, 6), 'ratios': rounded}
            with self.file.open('a') as file:
                file.write(json.dumps(record, separators=(',', ':')) + '\n')


def count_selected(layers: dict[str, SSN], ratios: list) -> Counter:
    """Counts how many rows of all layers chose each normalizer; none chosen counts 0."""
    counts = Counter({name: 0 for layer in layers.values() for name in layer.normalizers})
    for layer, rows in zip(layers.values(), ratios, strict=True):
        counts.update(layer.normalizers[row.index(1.0)] for row in rows if 1.0 in row)
    return counts


def _unwrapped(runner: Runner) -> nn.Module:
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


@torch.no_grad()
def layer_ratios(layers: dict[str, SSN]) -> list:
    """Ratios of all layers as nested lists, with a single transfer from the device."""
    ratios = [layer.ratios().flatten() for layer in layers.values()]
    flat = iter(torch.cat(ratios).tolist())
    return [
        [[next(flat) for _ in layer.normalizers] for _ in range(2)] for layer in layers.values()
    ]


@torch.no_grad()
def _pin_copy(source: dict[str, SSN], copy: dict[str, SSN]) -> None:
    """Makes an averaged copy one-hot wherever its source is."""
    for name, layer in source.items():
        pinned = (layer.ratio_logits == 1).any(-1, keepdim=True) & (
            (layer.ratio_logits == 0).sum(-1, keepdim=True) == len(layer.normalizers) - 1
        )
        copy[name].ratio_logits.copy_(layer.ratio_logits.where(pinned, copy[name].ratio_logits))
        copy[name].radius.copy_(layer.radius)


def _check_trainable(layers: dict[str, SSN]) -> None:
    frozen = [
        name
        for name, layer in layers.items()
        if not layer.ratio_logits.requires_grad and None in layer.selected
    ]
    if frozen:
        raise ValueError(
            f'{len(frozen)} SSN layers are frozen before they chose, {", ".join(frozen[:3])}...: '
            'the radius would choose for them by chance. Set frozen_stages=-1 (and no '
            'requires_grad=False in norm_cfg), or load a checkpoint whose layers have chosen'
        )


def _check_preferences(layers: dict[str, SSN], radius: float) -> None:
    """Equal logits beyond r_c make a choice by position: of a checkpoint that was not loaded."""
    tied = []
    for name, layer in layers.items():
        first, second = layer.ratio_logits.detach().topk(2).values.unbind(-1)
        if radius >= circumscribed_radius(len(layer.normalizers)) and (first == second).any():
            tied.append(name)
    if tied:
        raise ValueError(
            f'the radius starts at {radius}, where every layer has chosen, but {len(tied)} SSN '
            f'layers prefer nothing, {", ".join(tied[:3])}...: load a trained SN or SSN '
            "(load_from, or a 3D backbone's pretrained), or let the radius grow: schedule='linear'"
        )


def _start_file(path: Path, layers: dict[str, SSN], start: int) -> None:
    """Writes the header; of a resumed training's file keeps the records before ``start``."""
    header = {
        'layers': list(layers),
        'normalizers': [layer.normalizers for layer in layers.values()],
    }
    kept = []
    if start and path.exists():
        for line in path.read_text().splitlines()[1:]:
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                break  # a line cut short when the training was killed
            if record['iter'] > start:
                break
            kept.append(line)
    temporary = path.with_suffix('.tmp')
    temporary.write_text('\n'.join([json.dumps(header, separators=(',', ':')), *kept]) + '\n')
    os.replace(temporary, path)
