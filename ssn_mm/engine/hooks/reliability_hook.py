"""The hook that makes a resumed training the one that was stopped, and names broken data."""

import logging
from typing import Any

import torch.distributed as dist
from mmengine.hooks import CheckpointHook, Hook
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner

from ...weights.loading import unwrapped
from ..data.passes import Reader
from ..data.samples import seed_everything
from ..data.training_data import TrainingData, evaluation_reader, loaders_of
from ..start import StartHook

_GRADIENTS = 'accumulated_gradients'  # in a checkpoint, between two steps of the optimizer
_PLACE = 'place_in_data'  # in a checkpoint: passes, batches of the one that runs, of how many


class ReliabilityHook(StartHook):
    """Makes resuming exact, passes by damaged checkpoints, and names broken data.

    All that is random in an iteration is drawn from (seed, rank, iteration), and in a sample from
    its place in the batch, too; so a training that is resumed at any iteration goes on as if it
    had not been stopped, to the last bit where PyTorch's operators are deterministic, whatever
    the loop and the number of data-loading workers. Nothing is decoded to get there. What hooks
    change or exchange of loader, dataset, pipeline or sampler takes effect with the next batch.
    Resuming passes by a checkpoint that was cut short, and says so; see
    :func:`ssn_mm.engine.start.choose_start` for what a training starts from.

    Args:
        broken: What a training does with a sample that cannot be read, or does not fit the
            network: 'stop', or 'skip': log it and take another. Evaluation always stops.

    Raises:
        ValueError: ``broken`` is something else; or what :class:`StartHook` raises.
        BrokenSampleError: From a data loader, with the file and what is wrong with it.
    """

    priority = 'VERY_HIGH'  # random numbers of the iteration before any other hook draws one

    def __init__(self, broken: str = 'stop') -> None:
        if broken not in ('stop', 'skip'):
            raise ValueError(f"broken must be 'stop' or 'skip', got {broken!r}")
        self.broken = broken
        self.loaded: dict[str, Any] = {}
        self.data: TrainingData | None = None
        self.evaluation: Reader | None = None
        self.after_others: _AfterOthers | None = None

    def before_run(self, runner: Runner) -> None:
        """Chooses what a training starts from."""
        super().before_run(runner)
        if self.after_others is None:
            self.after_others = _AfterOthers(self)
            runner.register_hook(self.after_others)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Takes what a training needs to go on exactly; lets bare weights be loaded."""
        super().after_load_checkpoint(runner, checkpoint)
        if 'state_dict' not in checkpoint:  # as torchvision has them; other hooks ask for it
            state = dict(checkpoint)
            checkpoint.clear()
            checkpoint['state_dict'] = state
        self.loaded = {key: checkpoint.get(key) for key in ('meta', _GRADIENTS, _PLACE)}

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Adds the place in the data, and gradients that wait for the optimizer's step."""
        if self.data is not None:
            meta = checkpoint['meta']
            checkpoint[_PLACE] = self.data.place_after(meta['epoch'], meta['iter'])
        wrapper = runner.optim_wrapper
        if not isinstance(wrapper, OptimWrapper) or not _is_between_steps(runner, wrapper):
            return
        if dist.is_initialized() and dist.get_world_size() > 1:
            print_log(
                'This checkpoint lies between two steps of the optimizer, with gradients on '
                'several ranks that it cannot carry; choose an interval that is a multiple of '
                f'accumulative_counts={wrapper._accumulative_counts} to resume exactly',
                'current',
                logging.WARNING,
            )
            return
        checkpoint[_GRADIENTS] = {
            name: param.grad.detach().cpu()
            for name, param in unwrapped(runner.model).named_parameters()
            if param.grad is not None
        }

    def before_train(self, runner: Runner) -> None:
        """Makes the data a function of the iteration; restores gradients."""
        resumed = runner.iter > 0 and (self.loaded.get('meta') or {}).get('iter') == runner.iter
        loaded, self.loaded = self.loaded if resumed else {}, {}
        self.data = TrainingData(runner, self.broken, loaded.get(_PLACE))
        super().before_train(runner)
        parameters = dict(unwrapped(runner.model).named_parameters())
        for name, gradient in (loaded.get(_GRADIENTS) or {}).items():
            parameters[name].grad = gradient.to(parameters[name])
        for hook in runner.hooks:
            if isinstance(hook, CheckpointHook) and hook.max_keep_ckpts == 1:
                print_log(
                    'max_keep_ckpts=1 removes the last checkpoint before the next is written; '
                    'keep 2, so that a crash in between loses nothing',
                    'current',
                    logging.WARNING,
                )

    def before_train_epoch(self, runner: Runner) -> None:
        """Seeds what hooks draw for an epoch, alike in all processes."""
        if self.data is not None:
            seed_everything(self.data.order, runner.epoch)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Seeds what the network draws, such as dropout."""
        if self.data is not None:
            seed_everything(*self.data.seed, runner.iter)

    def before_val(self, runner: Runner) -> None:
        """Lets broken validation data be named."""
        self.name_broken(runner, runner.val_loop)

    def before_test(self, runner: Runner) -> None:
        """Lets broken test data be named."""
        self.name_broken(runner, runner.test_loop)

    def name_broken(self, runner: Runner, loop: Any) -> None:
        """Has a loop that evaluates name a sample that is broken."""
        self.evaluation = self.evaluation or evaluation_reader(runner)
        for loader in loaders_of(loop):
            self.evaluation.take(loader)


class _AfterOthers(Hook):
    """Acts when no other hook comes before a loader is read."""

    priority = 'LOWEST'

    def __init__(self, hook: ReliabilityHook) -> None:
        self.hook = hook

    def before_train(self, runner: Runner) -> None:
        if self.hook.data is not None:
            self.hook.data.begin_pass()

    def before_train_epoch(self, runner: Runner) -> None:
        if self.hook.data is not None:
            self.hook.data.begin_epoch()

    def before_val_epoch(self, runner: Runner) -> None:
        self.hook.name_broken(runner, runner.val_loop)

    def before_test_epoch(self, runner: Runner) -> None:
        self.hook.name_broken(runner, runner.test_loop)


def _is_between_steps(runner: Runner, wrapper: OptimWrapper) -> bool:
    return wrapper._accumulative_counts > 1 and not wrapper.should_update()
