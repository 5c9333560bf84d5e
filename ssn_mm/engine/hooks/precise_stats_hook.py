"""The hook that recalibrates batch norm before each validation, and the batches for it."""

from collections.abc import Iterable
from typing import Any

import torch
from mmengine.dist import get_dist_info
from mmengine.hooks import EMAHook, Hook
from mmengine.logging import print_log
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from ...datasets.check.sample_check import SampleCheck
from ...weights.loading import unwrapped
from ..data.samples import Samples
from ..recalibration import measure_statistics
from .reliability_hook import ReliabilityHook


class PreciseStatsHook(Hook):
    """Recomputes batch norm's running statistics from training batches, weights being fixed.

    The 'batch average' mode of the authors' code, for ``nn.BatchNorm`` and for the BN of SN and
    SSN, see :func:`ssn_mm.engine.recalibration.measure_statistics`. It takes place before the
    checkpoint is written and validation begins, so that both have the new statistics. Weights,
    ratios, random numbers and the order of the training's data stay as they are without it, and
    what is measured follows from weights and seed alone, so that resuming is exact. With mmengine's
    EMAHook it is the averaged network, the one that is evaluated, whose statistics are measured.

    mmpretrain's PreciseBNHook differs: it averages the variances of the batches, which leaves out
    how far their means lie apart; runs dropout; takes batches from the training's loader, which
    moves its order and random numbers on; counts them in ``num_batches_tracked``; passes the
    averaged network by; and misses layers outside the path of ``mode='tensor'``, such as those of
    mmseg's auxiliary heads.

    Args:
        num_batches: How many training batches all processes measure together, at most one pass
            over the data; the same ones each time.
        interval: Iterations between two measurements, epochs if the loop counts these; None is
            the interval of validation. The last iteration measures in any case.

    Raises:
        ValueError: A number is below 1; or, when training begins, the dataset is a stream.
    """

    priority = 'LOW'  # after EMAHook and SSNRadiusHook, before CheckpointHook

    def __init__(self, num_batches: int = 200, interval: int | None = None) -> None:
        if num_batches < 1:
            raise ValueError(f'num_batches must be at least 1, got {num_batches}')
        if interval is not None and interval < 1:
            raise ValueError(f'interval must be at least 1, got {interval}')
        self.num_batches, self.interval = num_batches, interval

    def before_train(self, runner: Runner) -> None:
        """Checks that the data can be measured."""
        check_dataset(runner)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Measures at the interval and in the last iteration."""
        if not self._is_due(runner, batch_idx):
            return
        model = unwrapped(runner.model)
        averaged = [h.ema_model for h in runner.hooks if isinstance(h, EMAHook)]
        for copy in averaged:
            copy.module.train()  # which layers are held in evaluation mode, a copy is not told
            names = recalibrate_model(runner, copy.module, self.num_batches)
            if not copy.update_buffers:  # validation takes the trained network's
                _copy_statistics(copy.module, model, names)
        if not averaged:
            recalibrate_model(runner, model, self.num_batches)

    def _is_due(self, runner: Runner, batch_idx: int) -> bool:
        loop: Any = runner.train_loop
        if runner.iter + 1 == runner.max_iters:
            return True
        interval = self.interval or (loop.val_interval if runner.val_loop else runner.max_iters)
        if not isinstance(loop, EpochBasedTrainLoop):
            return (runner.iter + 1) % interval == 0
        last = self.end_of_epoch(loop.dataloader, batch_idx)
        return last and (runner.epoch + 1) % interval == 0


def recalibrate_model(runner: Runner, model: nn.Module, num_batches: int) -> list[str]:
    """Measures a network's statistics on training batches of the runner's config.

    Args:
        runner: The runner, which has data and seed.
        model: Its network without the distributed wrapper, or a copy of that.
        num_batches: How many batches all processes measure together.

    Returns:
        Names of the layers measured.

    Raises:
        ValueError: What :func:`measure_statistics` and :func:`check_dataset` raise.
    """
    loader = _calibration_loader(runner, num_batches)

    def forward(batch: Any) -> object:  # as a training step, so that all its layers run
        return model._run_forward(  # type: ignore[operator]
            model.data_preprocessor(batch, True),  # type: ignore[operator]
            mode='loss',
        )

    names = measure_statistics(model, loader, forward)
    said = 'no layer uses batch norm, so there is nothing to measure'
    if names:
        said = f'measured for {len(names)} layers, {len(loader)} batches a process'
    print_log(f'Statistics of batch norm: {said}', 'current')
    return names


def check_dataset(runner: Runner) -> None:
    """Checks that batches can be drawn from the training's data.

    Raises:
        ValueError: It is a stream.
    """
    dataset = runner.train_dataloader.dataset
    if isinstance(dataset, IterableDataset):
        raise ValueError(
            f'statistics are measured on samples by their index, got a stream, '
            f'{type(dataset).__name__}; leave PreciseStatsHook out'
        )


def _calibration_loader(runner: Runner, num_batches: int) -> DataLoader:
    """Loads the batches that this process measures.

    All processes together measure samples of the whole dataset, in an order that follows from the
    seed. What is random in a sample follows from its place, whichever process reads it.
    """
    check_dataset(runner)
    loader, seed = runner.train_dataloader, int(runner.seed or 0)
    check = SampleCheck.of(runner.cfg)
    known = [hook.broken for hook in runner.hooks if isinstance(hook, ReliabilityHook)]
    dataset = Samples(loader.dataset, check, (seed,), *known)
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed)).tolist()
    size = loader.batch_sampler.batch_size  # type: ignore[union-attr]
    number = min(num_batches, max(len(order) // size, 1))
    batches = [
        [(batch, place, index) for place, index in enumerate(order[batch * size :][:size])]
        for batch in range(number)
    ]
    rank, processes = get_dist_info()
    each = max(number // processes, 1)  # equally many, as synchronised layers wait for each other
    return DataLoader(
        dataset,
        batch_sampler=[batches[(turn * processes + rank) % number] for turn in range(each)],
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        worker_init_fn=loader.worker_init_fn,
    )


def _copy_statistics(source: nn.Module, target: nn.Module, names: Iterable[str]) -> None:
    for name in names:
        layers: Any = source.get_submodule(name), target.get_submodule(name)
        for kind in ('running_mean', 'running_var'):
            getattr(layers[1], kind).copy_(getattr(layers[0], kind))
