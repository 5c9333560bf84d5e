"""The hook that makes SSN layers select while mmengine trains."""

import copy
import logging
from typing import Any

import torch
from mmengine.hooks import EMAHook
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import Tensor, nn

from ...layers import (
    SSN,
    check_selected,
    check_selection,
    keep_selected,
    let_go,
    set_radius,
    set_selection,
    ssn_layers,
    switch_norms,
)
from ...layers.fbn import NO_STATISTICS
from ...layers.letting_go import check_ratio, rows_at_vertices
from ...layers.sharded import whole
from ...ops import circumscribed_radius, sparsestmax
from ...renamed import selection_of
from ...weights.loading import unwrapped
from ..recalibration import buffers_kept, random_numbers_kept
from ..schedules import Schedule, build_schedule, check_schedule
from ..soft_selection import SoftSelection
from .ratios_hook import RatiosHook


class SSNRadiusHook(RatiosHook):
    """Grows the radius of every SSN during training, keeps what was selected, records ratios.

    Layers of other selectors get a temperature in its place, and are one-hot after the last
    iteration, see :class:`ssn_mm.engine.soft_selection.SoftSelection`.

    Before each iteration the radius is set to ``schedule(progress)``, progress being 0 in the
    first iteration of the training and 1 in the last, whichever loop runs; a resumed training
    goes on where it stood. After each optimizer step selected rows are put back on their vertex,
    in EMA copies too. Records, and ``ssn/radius`` beside them, are :class:`RatiosHook`'s.

    Args:
        schedule: See :func:`ssn_mm.engine.schedules.build_schedule`.
        interval: Iterations between two records.
        selection: What becomes of rows that the loaded checkpoint (``load_from``) has selected:
            'keep', 'relearn' or 'fix', see :func:`ssn_mm.set_selection`. A resumed training goes
            on with what it had, whichever it is.
        choices: The name of ``selection`` in configs of 0.1, which had 'freeze' for 'fix'; warns.
        let_go: Progress, inside (0, 1), at which all rows that are one-hot are moved inside the
            simplex, once, see :func:`ssn_mm.let_go`: for networks of ``convert_norms``, whose rows
            start at a vertex and would stay there. The loss of that iteration's batch before and
            after is logged. None lets no row go.
        let_go_ratio: The ratio that these rows then have for what they were at, inside (0, 1).
        temperature: Schedule of other selectors' temperature; None is 1 throughout, and with
            'gumbel' ``dict(type='exponential', start=1, end=0.1)``.
        entropy_weight: Weight of the ratios' entropy in the loss, with 'softmax+entropy'.
        soft_metrics: Whether the last validation has ``soft/...`` metrics with SparsestMax, too.

    Raises:
        ValueError: ``selection`` is none of the three, or layers to fix have not selected; the
            schedule shrinks, is negative or never reaches r_c; ``interval`` is below 1; SSN layers
            that have not selected are frozen (``frozen_stages``, ``requires_grad=False``); the
            radius is beyond r_c from the start and layers prefer nothing; there is no row to let
            go, or it would be one-hot again, or ``selection`` is 'fix'; FBN of SSN or SN layers
            has no statistics to normalize by; FSDP1 has flattened the ratio logits; or what
            :class:`RatiosHook` raises.
    """

    def __init__(
        self,
        schedule: str | dict | Schedule = 'linear',
        interval: int = 50,
        selection: str = 'keep',
        choices: str | None = None,
        let_go: float | None = None,
        let_go_ratio: float = 0.9,
        temperature: str | dict | Schedule | None = None,
        entropy_weight: float = 0.01,
        soft_metrics: bool = False,
    ) -> None:
        super().__init__(interval)
        if let_go is not None and not (isinstance(let_go, float | int) and 0 < let_go < 1):
            raise ValueError(f'let_go must be a progress inside (0, 1), or None, got {let_go!r}')
        if let_go is not None and selection == 'fix':
            raise ValueError(f"selection='fix' lets no row go, got let_go={let_go}; leave out one")
        check_ratio(let_go_ratio)
        self.let_go, self.let_go_ratio = let_go, let_go_ratio
        self.selection = check_selection(selection_of(choices) or selection)
        self.schedule = build_schedule(schedule)
        self.soft = SoftSelection(temperature, entropy_weight, soft_metrics)

    def before_train(self, runner: Runner) -> None:
        """Checks model and schedule; opens the file of ratios."""
        self.layers = dict(ssn_layers(unwrapped(runner.model)))
        if self.layers:
            self._apply_selection(runner)
            largest = max(len(layer.normalizers) for layer in self.layers.values())
            check_schedule(self.schedule, circumscribed_radius(largest))
            _check_trainable(self.layers)
            _check_preferences(self.layers, self.schedule(0.0))
        if self.let_go is not None:
            self._check_letting_go(runner)
        self.soft.before_train(runner)
        _check_statistics(unwrapped(runner.model))
        super().before_train(runner)

    def _apply_selection(self, runner: Runner) -> None:
        if runner.iter:  # resumed: layers know at once what they selected, as without the stop
            keep_selected(runner.model)
        elif self.selection == 'relearn':
            set_selection(runner.model, 'relearn')
        elif self.selection == 'fix':
            check_selected(runner.model)  # each step restores what is selected, so this is all
        elif self.let_go is None and not any(None in m.selected for m in self.layers.values()):
            print_log(
                'All SSN layers have selected before the first iteration, so their ratios will not '
                "learn. For a network of convert_norms with start='kept', say when they shall: "
                "dict(type='SSNRadiusHook', let_go=0.1)",
                'current',
                logging.WARNING,
            )

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        """Sets radius and temperature for this iteration."""
        progress = min(runner.iter / max(runner.max_iters - 1, 1), 1.0)
        self.soft.before_iter(runner, progress)
        if self.layers:
            self.radius = self.schedule(progress)
            set_radius(self.layers.values(), self.radius)
        if self.let_go is not None and runner.iter == self._iter_of_letting_go(runner):
            self._let_go(runner, data_batch)

    def _iter_of_letting_go(self, runner: Runner) -> int:
        return min(round((self.let_go or 0) * runner.max_iters), runner.max_iters - 1)

    def _check_letting_go(self, runner: Runner) -> None:
        """Refuses before the training what would end it where rows are let go."""
        at, ratio = self._iter_of_letting_go(runner), self.let_go_ratio
        if runner.iter > at:
            return  # it has been done in what is resumed
        layers = [layer for _, layer, _ in rows_at_vertices(unwrapped(runner.model))]
        if not layers:
            raise ValueError(
                f'let_go={self.let_go}, but no SSN or SN whose logits are trained has a row of '
                "ratios at a vertex; it is for networks of convert_norms with start='kept', so "
                'leave it out'
            )
        radius = self.schedule(at / max(runner.max_iters - 1, 1))
        for k in {len(layer.normalizers) for layer in layers if isinstance(layer, SSN)}:
            rest = (1 - ratio) / (k - 1)
            if (sparsestmax(torch.tensor([ratio] + [rest] * (k - 1)), radius) == 1).any():
                raise ValueError(
                    f'where rows are let go the schedule gives the radius {radius:.3g}, which '
                    f'makes {k} ratios, of which the largest is {ratio}, one-hot again; let go '
                    'earlier'
                )

    def _let_go(self, runner: Runner, data_batch: Any) -> None:
        """Moves rows off their vertices; logs what that does to the loss of the batch."""
        model = unwrapped(runner.model)
        with buffers_kept(model), random_numbers_kept(model):
            losses = let_go(model, self.let_go_ratio, lambda: _loss(runner, data_batch))
        before, after = losses  # type: ignore[misc]
        runner.message_hub.update_scalar('train/ssn/let_go_jump', after - before)
        print_log(
            f'Let go of the selected rows, whose ratio is {self.let_go_ratio} now: on this batch '
            f'the loss is {after:.4g}, and was {before:.4g}',
            'current',
        )

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        """Restores selected rows; records at the interval and in the last iteration."""
        if self.layers:
            keep_selected(self.layers.values())
            for hook in runner.hooks:
                if isinstance(hook, EMAHook):
                    _restore_copy(self.layers, dict(ssn_layers(hook.ema_model.module)))
        self.soft.after_iter(runner)
        super().after_train_iter(runner, batch_idx, data_batch, outputs)

    def before_val_epoch(self, runner: Runner) -> None:
        """Evaluates the ratios that were trained, before the validation of what they selected."""
        self.soft.before_val(runner)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, Any] | None = None) -> None:
        """Adds these metrics."""
        self.soft.after_val(runner, metrics)

    def after_train(self, runner: Runner) -> None:
        """Leaves the model's loss as it was."""
        self.soft.after_train(runner)


def _loss(runner: Runner, data_batch: Any) -> Tensor:
    """The loss of a batch, as a training step computes it; of all processes, each has its own."""
    model: Any = unwrapped(runner.model)
    with runner.optim_wrapper.optim_context(model):  # mixed precision
        data = model.data_preprocessor(
            copy.deepcopy(data_batch), True
        )  # which may change the batch
        losses = model._run_forward(data, mode='loss')
    return model.parse_losses(losses)[0]


@torch.no_grad()
def _restore_copy(source: dict[str, SSN], copy: dict[str, SSN]) -> None:
    """Makes an averaged copy one-hot wherever its source is."""
    for name, layer in source.items():
        restored = (layer.ratio_logits == 1).any(-1, keepdim=True) & (
            (layer.ratio_logits == 0).sum(-1, keepdim=True) == len(layer.normalizers) - 1
        )
        copy[name].ratio_logits.copy_(layer.ratio_logits.where(restored, copy[name].ratio_logits))
        copy[name].radius.copy_(layer.radius)


def _check_trainable(layers: dict[str, SSN]) -> None:
    frozen = [
        name
        for name, layer in layers.items()
        if not layer.ratio_logits.requires_grad and None in layer.selected
    ]
    if frozen:
        raise ValueError(
            f'{len(frozen)} SSN layers are frozen and not selected, {", ".join(frozen[:3])}...: '
            'the radius would select for them by chance. Set frozen_stages=-1 (and no '
            'requires_grad=False in norm_cfg), or load a checkpoint whose layers have selected'
        )


def _check_statistics(model: nn.Module) -> None:
    """Refuses FBN without statistics before the first step does, with all layers named."""
    lacking = [
        name or 'the layer'
        for name, layer in switch_norms(model)
        if layer.lacks_statistics() and not layer.update_fbn
    ]
    if lacking:
        raise ValueError(
            f'{len(lacking)} layers, {", ".join(lacking)}: {NO_STATISTICS}. With mmengine a '
            "checkpoint is loaded by load_from or init_cfg=dict(type='Pretrained')"
        )


def _check_preferences(layers: dict[str, SSN], radius: float) -> None:
    """Refuses equal logits beyond r_c: they were not loaded, and the first normalizer would win."""
    tied = []
    for name, layer in layers.items():
        first, second = whole(layer.ratio_logits.detach()).topk(2).values.unbind(-1)
        if radius >= circumscribed_radius(len(layer.normalizers)) and (first == second).any():
            tied.append(name)
    if tied:
        raise ValueError(
            f'the radius starts at {radius}, where layers select at once, but {len(tied)} SSN '
            f'layers prefer nothing, {", ".join(tied[:3])}...: load a trained SN or SSN '
            "(load_from, or a 3D backbone's pretrained), or let the radius grow: schedule='linear'"
        )
