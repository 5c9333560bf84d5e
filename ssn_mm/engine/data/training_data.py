"""The loaders of a training's loop, and where in them the training stands."""

import logging
from collections.abc import Iterator
from functools import partial
from typing import Any

from mmengine.dataset import DefaultSampler
from mmengine.dist import get_rank
from mmengine.logging import print_log
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader, DistributedSampler, RandomSampler, SequentialSampler

from ...datasets.check.sample_check import SampleCheck
from .draws import Endless, TrainingReader, is_endless
from .passes import Reader, is_readable, sampler_of
from .samples import NamingCollate, Samples

_FINITE = DefaultSampler, DistributedSampler, RandomSampler, SequentialSampler


class TrainingData:
    """Has the loaders of a training's loop read as its iteration says.

    Args:
        runner: About to train.
        broken: What becomes of a broken sample, 'stop' or 'skip', see :class:`Samples`.
        place: Where the training stood, from :meth:`place_after`; None if it begins, or if the
            checkpoint does not say.

    Attributes:
        seed: The runner's seed and the rank, from which all that is random in an iteration follows.
        order: The seed that processes share, from which the order of the data follows.
    """

    def __init__(self, runner: Runner, broken: str, place: dict[str, int] | None) -> None:
        loop: Any = runner.train_loop
        self.runner, self.loop = runner, loop
        self.by_epoch = isinstance(loop, EpochBasedTrainLoop)
        seed = int(runner.seed or 0)
        self.seed = (seed, get_rank())
        randomness = getattr(runner, '_randomness_cfg', {})
        self.order = seed - get_rank() * bool(randomness.get('diff_rank_seed'))
        check = SampleCheck.of(runner.cfg, training=True)
        samples = partial(Samples, check=check, seed=self.seed, broken=broken)
        self.reader = TrainingReader(samples, NamingCollate, self.order, loop, lambda: runner.iter)
        self.first = self.offset = self.of = 0
        if not is_readable(loop.dataloader):
            return
        self.reader.number, self.first, self.of = _place_in(loop, place, self.by_epoch)
        if isinstance(loop, IterBasedTrainLoop):
            loop.dataloader_iterator = Endless(self.reader)
        elif self.by_epoch and self.first:
            run_iter = loop.run_iter  # its batches count from 0, as if they were the epoch's first
            loop.run_iter = lambda idx, data_batch: run_iter(idx + self.offset, data_batch)

    def begin_epoch(self) -> None:
        """Has the next pass begin where the training stands."""
        self._fit_length()
        self.reader.began = self.runner.iter - self.first
        if self.by_epoch:
            self.reader.number = self.runner.epoch
        if isinstance(self._iterator, Endless):
            self._iterator.first = self.first
            if not getattr(self.loop, 'fast_forward_on_resume', False):  # an option of onedl's
                self._iterator.passed_by = self.runner.iter  # which mmengine takes first
        self.begin_pass()
        self.offset, self.first = self.first, 0

    def begin_pass(self) -> None:
        """Has the loaders that the loop has now read as the iteration says."""
        for loader in loaders_of(self.loop):
            if self.reader.take(loader) and not isinstance(self._iterator, Endless):
                self.reader.begin(loader, self.first)

    def place_after(self, epoch: int, iteration: int) -> dict[str, int]:
        """The place in the data that a checkpoint keeps.

        Args:
            epoch: The checkpoint's epoch, which is the next one after an epoch has ended.
            iteration: The checkpoint's iteration.

        Returns:
            ``passes`` that are over, ``batches`` of the pass that runs, and ``of`` how many.
        """
        passes, batches = self.reader.number, iteration - self.reader.began
        if self.by_epoch and epoch != passes:
            passes, batches = epoch, 0
        return dict(passes=passes, batches=batches, of=_length(self.loop.dataloader))

    def _fit_length(self) -> None:
        """Goes on at the same part of a pass if it now has another number of batches."""
        length, of = _length(self.loop.dataloader), self.of
        self.of = 0
        if of in (0, length) or is_endless(sampler_of(self.loop.dataloader)):
            return
        self.first = self.first * length // of
        print_log(
            f'A pass over the data has {length} batches, {of} when this checkpoint was written '
            '(by another number of processes, or with another batch size): the training goes on, '
            'and is not the one that was stopped',
            'current',
            logging.WARNING,
        )
        if self.by_epoch:  # so that what counts iterations, such as the radius, ends with them
            self.loop._iter = self.loop.epoch * length + self.first

    @property
    def _iterator(self) -> Any:
        return getattr(self.loop, 'dataloader_iterator', None)


def evaluation_reader(runner: Runner) -> Reader:
    """A reader that names a broken sample of a loop that evaluates."""
    check = SampleCheck.of(runner.cfg, training=False)
    return Reader(partial(Samples, check=check), NamingCollate)


def check_length(runner: Runner) -> None:
    """Checks that a training has a batch and an iteration.

    Where there is none, mmengine fails at a scheduler, or waits for a batch, and does not say why.

    Raises:
        ValueError: There is no batch, no iteration, or a dataset without samples.
    """
    for each in filter(is_readable, loaders_of(runner.train_loop)):
        data: Any = each.dataset
        if hasattr(data, '__len__') and not len(data):  # some samplers would wait without end
            raise ValueError(
                f'there is nothing to train on: {type(data).__name__}, the dataset of '
                'train_dataloader, has no samples; look at its data_root, data_prefix and ann_file'
            )
    loader: Any = getattr(runner.train_loop, 'dataloader', None)
    ends = is_readable(loader) and isinstance(sampler_of(loader), _FINITE)
    if not runner.max_iters or (ends and not len(loader)):
        raise ValueError(
            'there is nothing to train: an epoch of train_dataloader has no batch, or the '
            'training no iteration. It has fewer samples than a batch, and drop_last, or '
            'train_cfg ends at 0'
        )


def loaders_of(loop: Any) -> Iterator[DataLoader]:
    """A loop's loaders: mmaction2's loop over several has a list of them."""
    found: list = []
    for value in getattr(loop, '__dict__', {}).values():
        found += value if isinstance(value, list | tuple) else [value]
    yield from {id(item): item for item in found if isinstance(item, DataLoader)}.values()


def _place_in(loop: Any, place: dict | None, by_epoch: bool) -> tuple[int, int, int]:
    """How many passes are over, how many batches of the next, and how many batches it had."""
    if place is not None:
        return place['passes'], place['batches'], place['of']
    length = _length(loop.dataloader)  # the checkpoint has no such record
    if is_endless(sampler_of(loop.dataloader)):
        return 0, loop.iter, length
    if not by_epoch:
        return *divmod(loop.iter, max(length, 1)), length
    first = loop.iter - loop.epoch * length
    return loop.epoch, first if 0 <= first <= length else 0, length


def _length(loader: Any) -> int:
    return len(loader) if is_readable(loader) else 0
