"""Trainings of two processes under mmengine."""

import copy

import pytest
import torch
from distributed import gathered, on_ranks
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.hooks import EMAHook, Hook
from mmengine.hooks import SyncBuffersHook as OfMMEngine
from mmengine.runner import Runner
from small_net import Net, StopAfter
from torch.utils.data import Dataset

from ssn_mm.engine.hooks import ReliabilityHook, SSNRadiusHook, SyncStatisticsHook


class Pictures(Dataset):
    def __len__(self):
        return 16

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        return torch.randn(3, 6, 6, generator=generator) * (1 + index), index % 2


class Watch(Hook):
    """Compares the processes: parameters in every iteration, statistics where they must agree."""

    priority = 'LOWEST'

    def __init__(self):
        self.parted, self.validated, self.selected = 0, [], []

    def after_train_iter(self, runner, *_, **__):
        model = runner.model.module
        self.selected.append((*model.norm.selected, *model.second.selected))
        logits = [layer.ratio_logits.tolist() for layer in (model.norm, model.second)]
        one, other = gathered((self.selected[-1], logits))
        assert one == other
        one, other = gathered(model.norm.running_mean.tolist())
        self.parted += one != other

    def after_val_iter(self, runner, *_, **__):
        state = copy.deepcopy(runner.model.module.state_dict())
        one, other = gathered({key: value.tolist() for key, value in state.items()})
        assert one == other, [key for key in one if one[key] != other[key]]
        self.validated.append((runner.iter, state))


DDP = dict(type='MMDistributedDataParallel', broadcast_buffers=False, device_ids=None)
LOOPS = {
    'iterations': dict(by_epoch=False, max_iters=12, val_interval=4),
    'epochs': dict(by_epoch=True, max_epochs=3, val_interval=2),
}


def train(folder, loop, accumulate=1, hooks=(), sync=None, resume=False):
    torch.manual_seed(0)
    watch, data = Watch(), dict(dataset=Pictures(), collate_fn=dict(type='default_collate'))
    Runner(
        model=Net(),
        work_dir=str(folder),
        train_dataloader=dict(
            **data, sampler=dict(type='DefaultSampler', shuffle=True), batch_size=2
        ),
        val_dataloader=dict(**data, sampler=dict(type='DefaultSampler'), batch_size=8),
        train_cfg=LOOPS[loop],
        val_cfg=dict(),
        val_evaluator=Evaluator([]),
        optim_wrapper=dict(
            constructor='SSNOptimWrapperConstructor',
            optimizer=dict(type='AdamW', lr=0.05),
            accumulative_counts=accumulate,
        ),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=2, by_epoch=False)),
        custom_hooks=[
            sync or SyncStatisticsHook(),
            SSNRadiusHook(),
            ReliabilityHook(),
            *hooks,
            watch,
        ],
        cfg=Config(dict(model_wrapper_cfg=DDP)),
        launcher='pytorch',
        randomness=dict(seed=3),
        resume=resume,
        experiment_name=f'{folder.name}-{loop}-{accumulate}-{resume}',
        log_level='ERROR',
    ).train()
    return watch


def train_and_compare(rank, folder, loop, accumulate=1, ema=False, sync=None):
    hooks = [EMAHook(update_buffers=True)] if ema else []
    watch = train(folder, loop, accumulate, hooks, sync)
    assert watch.parted > 3  # so that agreement is the hook's
    assert watch.selected[0] == (None,) * 4
    assert None not in watch.selected[-1]
    assert [at for at, _ in watch.validated] == dict(iterations=[4, 8, 12], epochs=[8, 12])[loop]
    for at, state in watch.validated:
        saved = torch.load(folder / f'iter_{at}.pth', weights_only=True)['state_dict']
        for key, value in state.items():
            assert torch.equal(value, saved[key]), (at, key)


@pytest.mark.parametrize(
    ('loop', 'accumulate', 'ema'),
    [('iterations', 1, False), ('iterations', 2, True), ('epochs', 2, False)],
)
def test_processes_select_alike_and_validate_what_they_save(tmp_path, loop, accumulate, ema):
    on_ranks(2, tmp_path, train_and_compare, tmp_path / 'run', loop, accumulate, ema)


def fail_with_mmengines_hook(rank, folder):
    with pytest.raises(AssertionError, match='running_mean'):
        train_and_compare(rank, folder / 'saved', 'iterations', sync=OfMMEngine())
    with pytest.raises(AssertionError, match='running_mean'):
        train_and_compare(rank, folder / 'ema', 'iterations', ema=True, sync=OfMMEngine())


def test_with_mmengines_hook_they_do_not(tmp_path):
    """So the test above is able to fail."""
    on_ranks(2, tmp_path, fail_with_mmengines_hook, tmp_path)


def resume_and_compare(rank, folder):
    whole = train(folder / 'whole', 'iterations')
    with pytest.raises(KeyboardInterrupt):
        train(folder / 'parts', 'iterations', hooks=[StopAfter(6)])
    parts = train(folder / 'parts', 'iterations', resume=True)
    assert [at for at, _ in parts.validated] == [8, 12]
    for (_, one), (_, other) in zip(whole.validated[-2:], parts.validated, strict=True):
        for key, value in one.items():
            assert torch.equal(value, other[key]), key


def test_a_distributed_training_resumes_exactly_statistics_included(tmp_path):
    on_ranks(2, tmp_path, resume_and_compare, tmp_path)
