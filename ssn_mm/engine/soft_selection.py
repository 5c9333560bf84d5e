"""Drives layers of other selectors than SparsestMax while mmengine trains."""

from typing import Any

import numpy as np
import torch
from mmengine.hooks import EMAHook
from mmengine.logging import print_log
from mmengine.runner import Runner, autocast
from torch import nn

from ..layers import selection_entropy, selector_norms, set_temperature
from ..weights.loading import unwrapped
from .schedules import Schedule, build_schedule

SOFT = 'soft/'  # before a metric's name, for the network whose ratios are not one-hot yet


class SoftSelection:
    """The temperature of :class:`.SelectorNorm`, its entropy in the loss, and its end.

    After the last iteration the temperature is 0, so that all ratios are one-hot: checkpoints,
    tests and :func:`ssn_mm.deploy.freeze` see what was selected. The last validation has each
    metric twice: of the selection, and as ``soft/...`` of the ratios that were trained. With
    SparsestMax alone the two are the same network.

    Args:
        temperature: See :func:`.build_schedule`; None is 1, and with 'gumbel' a fall from 1 to 0.1.
        entropy_weight: Weight of :func:`ssn_mm.selection_entropy` in the loss, in nats.
        soft_metrics: Whether metrics are named twice with SparsestMax alone, too, as a comparison
            needs.
    """

    def __init__(
        self,
        temperature: str | dict | Schedule | None = None,
        entropy_weight: float = 0.01,
        soft_metrics: bool = False,
    ) -> None:
        if entropy_weight < 0:
            raise ValueError(f'entropy_weight must be at least 0, got {entropy_weight}')
        self.temperature = None if temperature is None else build_schedule(temperature)
        self.entropy_weight, self.soft_metrics = entropy_weight, soft_metrics
        self.heat = 1.0  # that the last iteration was trained with
        self.selectors: set[str] = set()
        self._soft: dict[str, Any] = {}

    def before_train(self, runner: Runner) -> None:
        """Looks for the layers; adds the entropy to the loss of a model that has it."""
        model: Any = unwrapped(runner.model)
        self.selectors = {layer.selector for _, layer in selector_norms(model)}
        if self.temperature is None:
            draws = 'gumbel' in self.selectors
            self.temperature = build_schedule('exponential' if draws else 'constant')
        if 'softmax+entropy' in self.selectors:
            model.parse_losses = _with_entropy(model, model.parse_losses, self.entropy_weight)

    def before_iter(self, runner: Runner, progress: float) -> None:
        """Sets the temperature for an iteration."""
        if self.selectors:
            assert self.temperature is not None
            self.heat = self.temperature(progress)
            set_temperature(unwrapped(runner.model), self.heat)

    def after_iter(self, runner: Runner) -> None:
        """Makes all ratios one-hot after the last iteration, in EMA copies too."""
        if self.selectors and runner.iter + 1 == runner.max_iters:
            self._heat(runner, 0.0)

    def before_val(self, runner: Runner) -> None:
        """Evaluates the ratios that were trained, before the last validation."""
        self._soft = {}
        if self.selectors and runner.iter >= runner.max_iters:
            self._heat(runner, self.heat)
            found = _evaluate(runner)
            self._heat(runner, 0.0)
            self._soft = {f'{SOFT}{key}': value for key, value in found.items()}
            print_log(f'With the ratios that were trained: {found}; now one-hot', 'current')

    def after_val(self, runner: Runner, metrics: dict[str, Any] | None) -> None:
        """Adds what was evaluated to the metrics of the last validation."""
        if metrics is None or runner.iter < runner.max_iters:
            return
        if self.soft_metrics and not self.selectors:
            self._soft = {f'{SOFT}{key}': value for key, value in metrics.items()}
        metrics.update(self._soft)
        for key, value in self._soft.items():  # mmengine has taken the others for its log already
            if isinstance(value, int | float | np.number):
                runner.message_hub.update_scalar(f'val/{key}', float(value))

    def after_train(self, runner: Runner) -> None:
        """Takes the entropy out of the loss again, so that another training adds it once."""
        if 'softmax+entropy' in self.selectors:
            del unwrapped(runner.model).parse_losses

    def _heat(self, runner: Runner, temperature: float) -> None:
        set_temperature(unwrapped(runner.model), temperature)
        for hook in runner.hooks:
            if isinstance(hook, EMAHook):
                set_temperature(hook.ema_model.module, temperature)


def _with_entropy(model: nn.Module, parse_losses: Any, weight: float) -> Any:
    def parse(losses: dict[str, Any]) -> Any:
        own = {'loss_selection_entropy': weight * selection_entropy(model)}
        return parse_losses({**losses, **own})

    return parse


@torch.no_grad()
def _evaluate(runner: Runner) -> dict[str, Any]:
    """The metrics of a validation, without its hooks."""
    loop: Any = runner.val_loop
    runner.model.eval()
    for batch in loop.dataloader:
        with autocast(enabled=loop.fp16):
            outputs = runner.model.val_step(batch)
        loop.evaluator.process(data_samples=outputs, data_batch=batch)
    return loop.evaluator.evaluate(len(loop.dataloader.dataset))
