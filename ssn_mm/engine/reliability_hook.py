"""The hook that makes a resumed training the one that was stopped, and names broken data."""

import logging
from typing import Any

import torch
import torch.distributed as dist
from mmengine.dist import barrier as wait_for_others
from mmengine.dist import get_rank, master_only
from mmengine.hooks import CheckpointHook, Hook
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from mmengine.runner.loops import EpochBasedTrainLoop, _InfiniteDataloaderIterator
from torch.utils.data import DataLoader, IterableDataset

from ..checkpoints.files import check_checkpoint, point_to_intact
from ..datasets.sample_check import SampleCheck
from .ratios_hook import unwrapped
from .samples import Draws, NamingCollate, Samples, seed_everything

_GRADIENTS = 'accumulated_gradients'  # in a checkpoint, between two steps of the optimizer


class ReliabilityHook(Hook):
    """Exact resuming, intact checkpoints, and broken data that is named.

    All that is random in an iteration is drawn from (seed, rank, iteration), and in a sample from
    its place in the batch, too; so a training that is resumed at any iteration goes on as if it
    had not been stopped, to the last bit where PyTorch's operators are deterministic, whatever
    the loop and the number of data-loading workers. Nothing is decoded to get there. Resuming
    passes by a checkpoint that was cut short, and says so.

    Args:
        broken: What a training does with a sample that cannot be read, or does not fit the
            network: 'stop', or 'skip': log it and take another. Evaluation always stops.

    Raises:
        ValueError: ``broken`` is something else; or the checkpoint to resume from is damaged, and
            all before it.
        BrokenSampleError: From a data loader, with the file and what is wrong with it.
    """

    priority = 'VERY_HIGH'  # random numbers of the iteration before any other hook draws one

    def __init__(self, broken: str = 'stop') -> None:
        if broken not in ('stop', 'skip'):
            raise ValueError(f"broken must be 'stop' or 'skip', got {broken!r}")
        self.broken = broken

    def before_run(self, runner: Runner) -> None:
        """Finds an intact checkpoint to resume from."""
        self.gradients: dict[str, torch.Tensor] | None = None
        if runner._resume and runner._load_from is None:
            _settle_checkpoint(runner.work_dir)
            wait_for_others()
        elif runner._load_from and '://' not in str(runner._load_from):
            check_checkpoint(runner._load_from)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Takes gradients that waited for the optimizer's step; lets bare weights be loaded."""
        if 'state_dict' not in checkpoint:  # as torchvision has them; other hooks ask for it
            state = dict(checkpoint)
            checkpoint.clear()
            checkpoint['state_dict'] = state
        if runner._resume:
            self.gradients = checkpoint.get(_GRADIENTS)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Adds gradients that wait for the optimizer's step (gradient accumulation)."""
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
            for name, param in unwrapped(runner).named_parameters()
            if param.grad is not None
        }

    def before_train(self, runner: Runner) -> None:
        """Makes the data a function of the iteration; restores gradients."""
        seed = int(runner.seed or 0)
        self.seed = (seed, get_rank())
        loop: Any = runner.train_loop
        # a DataLoader refuses to be changed, for iterators that hold the old parts; none goes on
        own = vars(loop.dataloader)
        if self._name_broken(runner, loop.dataloader, self.broken, self.seed):
            by_epoch = isinstance(loop, EpochBasedTrainLoop)
            draws = Draws(
                own['batch_sampler'], seed, lambda: runner.iter, runner.epoch if by_epoch else None
            )
            own['batch_sampler'] = draws
            if not by_epoch:
                loop.dataloader_iterator = _Advanced(loop.dataloader, runner.iter, draws.epoch)
        parameters = dict(unwrapped(runner).named_parameters())
        for name, gradient in (self.gradients or {}).items():
            parameters[name].grad = gradient.to(parameters[name])
        self.gradients = None
        for hook in runner.hooks:
            if isinstance(hook, CheckpointHook) and hook.max_keep_ckpts == 1:
                print_log(
                    'max_keep_ckpts=1 removes the last checkpoint before the next is written; '
                    'keep 2, so that a crash in between loses nothing',
                    'current',
                    logging.WARNING,
                )

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Seeds what the network draws, such as dropout."""
        seed_everything(*self.seed, runner.iter)

    def before_val(self, runner: Runner) -> None:
        """Lets broken validation data be named."""
        self._name_broken(runner, runner.val_loop.dataloader, 'stop')  # type: ignore[union-attr]

    def before_test(self, runner: Runner) -> None:
        """Lets broken test data be named."""
        self._name_broken(runner, runner.test_loop.dataloader, 'stop')  # type: ignore[union-attr]

    def _name_broken(
        self, runner: Runner, loader: DataLoader, broken: str, seed: tuple | None = None
    ) -> bool:
        own = vars(loader)
        if isinstance(loader.dataset, Samples | IterableDataset) or not own.get('batch_sampler'):
            return False
        check = SampleCheck.of(runner.cfg, training=seed is not None)
        own['dataset'] = Samples(loader.dataset, check, seed, broken)
        own['collate_fn'] = NamingCollate(own['collate_fn'])
        own['_iterator'] = None
        return True


class _Advanced(_InfiniteDataloaderIterator):
    """The batches from an iteration on, of which mmengine's loop takes as many steps to skip."""

    def __init__(self, dataloader: DataLoader, iteration: int, epoch: int) -> None:
        super().__init__(dataloader)
        self.skipped, self._epoch = iteration, epoch

    def __next__(self) -> Any:
        if self.skipped:
            self.skipped -= 1
            return None
        return super().__next__()


@master_only
def _settle_checkpoint(work_dir: str) -> None:
    point_to_intact(work_dir)


def _is_between_steps(runner: Runner, wrapper: OptimWrapper) -> bool:
    return wrapper._accumulative_counts > 1 and not wrapper.should_update()
