"""The hook that makes the running statistics of all processes agree."""

from mmengine.dist import all_reduce_params, get_world_size
from mmengine.hooks import CheckpointHook, EMAHook, Hook
from mmengine.runner import Runner

from ...weights.loading import unwrapped


class SyncStatisticsHook(Hook):
    """Averages running statistics over processes before they are evaluated or saved.

    Without SyncBN each process measures its own batches. mmengine's ``SyncBuffersHook`` averages
    before a validation, when the checkpoint of the same iteration has been written already, with
    the statistics of one process; and it leaves out averaged copies
    (``EMAHook(update_buffers=True)``). This hook averages before either; so a checkpoint is the
    network that was validated, and a training that resumes from it has on every process what the
    uninterrupted one had. Ratios and radius are equal on all processes anyhow.
    """

    # after EMAHook (50) has taken its average, before CheckpointHook (90) saves
    priority = 'LOW'

    def __init__(self) -> None:
        self.agree = False  # averaging equal numbers again could change their last bit

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        """Notes that the processes' statistics are about to differ."""
        self.agree = False

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        """Averages in an iteration that ends with a checkpoint."""
        if any(_saves(hook, runner) for hook in runner.hooks):
            self._average(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Averages; a checkpoint may follow."""
        self._average(runner)

    def before_val_epoch(self, runner: Runner) -> None:
        """Averages; an iteration-based training validates within its only epoch."""
        self._average(runner)

    def _average(self, runner: Runner) -> None:
        if self.agree or get_world_size() == 1:
            return
        models = [unwrapped(runner.model)]
        models += [hook.ema_model for hook in runner.hooks if isinstance(hook, EMAHook)]
        buffers = [b for model in models for b in model.buffers() if b.is_floating_point()]
        all_reduce_params(buffers, op='mean')
        self.agree = True


def _saves(hook: Hook, runner: Runner) -> bool:
    if not isinstance(hook, CheckpointHook) or hook.by_epoch:
        return False
    last = hook.save_last and hook.is_last_train_iter(runner)
    return last or hook.every_n_train_iters(runner, hook.interval, hook.save_begin)
