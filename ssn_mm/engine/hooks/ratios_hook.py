"""The hook that records the ratios of SSN and SN layers while mmengine trains."""

from pathlib import Path

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from ...layers import count_selected, layer_ratios, switch_norms
from ...weights.loading import unwrapped
from ..norm_settings import extend_to_switch_norms
from ..ratios import RATIOS_FILE, append_ratios, start_ratios


class RatiosHook(Hook):
    """Records the ratios of every SSN and SN layer; ``SSNRadiusHook`` does so, too.

    At an interval it logs, to all of mmengine's visualisation backends, ``ssn/selected`` (the part
    of rows that is one-hot) and how many rows selected each normalizer, and appends every layer's
    ratios to ``ssn_ratios.jsonl`` in the work dir, see :mod:`ssn_mm.engine.ratios`.

    Args:
        interval: Iterations between two records.

    Raises:
        ValueError: ``interval`` is below 1, or what
            :func:`ssn_mm.engine.norm_settings.extend_to_switch_norms` raises.
    """

    # after EMAHook (50), whose copies SSNRadiusHook restores; before LoggerHook (60)
    priority = 55
    radius: float | None = None  # SN has none

    def __init__(self, interval: int = 50) -> None:
        if interval < 1:
            raise ValueError(f'interval must be at least 1 iteration, got {interval}')
        self.interval = interval

    def before_train(self, runner: Runner) -> None:
        """Applies the training's settings for batch norms to SSN and SN; opens the ratio file."""
        extend_to_switch_norms(runner, unwrapped(runner.model))
        self.recorded = dict(switch_norms(unwrapped(runner.model)))
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
