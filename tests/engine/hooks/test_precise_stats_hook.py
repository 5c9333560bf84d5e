"""PreciseStatsHook in mmengine's Runner."""

import random
from uuid import uuid4

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.hooks import EMAHook, Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import IterableDataset

from ssn_mm import SSN
from ssn_mm.engine.hooks import PreciseStatsHook, ReliabilityHook, SSNRadiusHook
from ssn_mm.engine.hooks.precise_stats_hook import recalibrate_model


@DATASETS.register_module()
class NoisyDigits(BaseDataset):
    """Ten pictures, each with noise by all three random generators, as augmentations draw it."""

    def load_data_list(self):
        return [dict(label=index % 2) for index in range(10)]

    def prepare_data(self, index):
        noise = torch.rand(1) + random.random() + float(np.random.rand())
        picture = torch.randn(3, 6, 6, generator=torch.Generator().manual_seed(index))
        return picture + noise, index % 2


class Net(BaseModel):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.second = nn.Conv2d(3, 4, 3), SSN(4), nn.BatchNorm2d(4)
        self.dropout, self.fc = nn.Dropout(0.3), nn.Linear(4, 2)

    def forward(self, inputs, labels, mode='tensor'):
        x = self.dropout(self.second(self.norm(self.conv(inputs)).relu()).mean((2, 3)))
        loss = nn.functional.cross_entropy(self.fc(x), labels)
        return dict(loss=loss) if mode == 'loss' else [loss]


class StopAfter(Hook):
    """As if the machine died after so many iterations."""

    priority = 'LOWEST'

    def __init__(self, iterations):
        self.iterations = iterations

    def after_train_iter(self, runner, *_, **__):
        if runner.iter + 1 == self.iterations:
            raise KeyboardInterrupt


class Spy(PreciseStatsHook):
    """Notes after which iterations it measures."""

    def after_train_iter(self, runner, batch_idx, *_, **__):
        if self._is_due(runner, batch_idx):
            runner.measured = [*getattr(runner, 'measured', []), runner.iter + 1]
        super().after_train_iter(runner, batch_idx)


LOOPS = {
    'iterations': (dict(by_epoch=False, max_iters=14), 'InfiniteSampler'),
    'epochs': (dict(by_epoch=True, max_epochs=3), 'DefaultSampler'),
}


def train(folder, precise=None, loop='iterations', stop=None, reliable=True, ema=None, **kwargs):
    torch.manual_seed(0)
    cfg, sampler = LOOPS[loop]
    data = dict(
        dataset=dict(type='NoisyDigits'),
        sampler=dict(type=sampler, shuffle=True),
        batch_size=2,
        num_workers=kwargs.pop('workers', 0),
        collate_fn=dict(type='default_collate'),
    )
    runner = Runner(
        model=Net(),
        work_dir=str(folder),
        train_dataloader=kwargs.pop('data', data),
        train_cfg=cfg,
        optim_wrapper=dict(
            constructor='SSNOptimWrapperConstructor', optimizer=dict(type='AdamW', lr=0.05)
        ),
        default_hooks=dict(
            checkpoint=dict(type='CheckpointHook', interval=1 if stop else 20, by_epoch=False)
        ),
        custom_hooks=[
            SSNRadiusHook(interval=4),
            *([EMAHook(momentum=0.1, update_buffers=ema == 'buffers too')] if ema else []),
            *([ReliabilityHook()] if reliable else []),
            *([precise] if precise else []),
            *([StopAfter(stop)] if stop else []),
        ],
        randomness=dict(seed=3),
        cfg=Config(dict()),
        experiment_name=f'{folder.name}-{uuid4()}',
        log_level='WARNING',
        **kwargs,
    )
    if stop:
        with pytest.raises(KeyboardInterrupt):
            runner.train()
    else:
        runner.train()
    return runner


def state(folder):
    checkpoint = torch.load((folder / 'last_checkpoint').read_text(), weights_only=True)
    flat = {}
    for part in ('state_dict', 'ema_state_dict'):
        flat |= {f'{part}.{key}': value for key, value in checkpoint.get(part, {}).items()}
    for index, own in checkpoint['optimizer']['state'].items():
        flat |= {f'optimizer.{index}.{key}': value for key, value in own.items()}
    return flat


def differences(one, other):
    assert one.keys() == other.keys()
    return {key for key, value in one.items() if not torch.equal(value, other[key])}


@pytest.mark.parametrize('reliable', [True, False], ids=['reliable', 'plain'])
def test_recalibrating_changes_nothing_of_a_training_but_the_statistics(tmp_path, reliable):
    train(tmp_path / 'without', reliable=reliable)
    train(tmp_path / 'with', PreciseStatsHook(3, interval=4), reliable=reliable)
    changed = differences(state(tmp_path / 'with'), state(tmp_path / 'without'))
    assert changed == {
        f'state_dict.{name}.running_{kind}'
        for name in ('norm', 'second')
        for kind in ('mean', 'var')
    }


@pytest.mark.parametrize(('loop', 'interval', 'stop'), [('iterations', 4, 9), ('epochs', 1, 5)])
def test_a_resumed_run_that_recalibrates_equals_the_uninterrupted_one(
    tmp_path, loop, interval, stop
):
    precise = PreciseStatsHook(3, interval)
    train(tmp_path / 'whole', precise, loop, ema='buffers too')
    train(tmp_path / 'parts', precise, loop, stop, ema='buffers too')
    train(tmp_path / 'parts', precise, loop, ema='buffers too', resume=True)
    assert not differences(state(tmp_path / 'parts'), state(tmp_path / 'whole'))


def test_workers_and_their_number_change_no_statistic(tmp_path):
    train(tmp_path / 'none', PreciseStatsHook(3, interval=7))
    train(tmp_path / 'two', PreciseStatsHook(3, interval=7), workers=2)
    assert not differences(state(tmp_path / 'none'), state(tmp_path / 'two'))


@pytest.mark.parametrize(
    ('loop', 'interval', 'expected'),
    [('iterations', 4, [4, 8, 12, 14]), ('iterations', None, [14]), ('epochs', 2, [10, 15])],
)
def test_statistics_are_measured_at_the_interval_and_at_the_end(tmp_path, loop, interval, expected):
    assert train(tmp_path, Spy(3, interval), loop).measured == expected


@pytest.mark.parametrize('ema', ['buffers too', 'weights alone'])
def test_with_ema_the_network_that_is_evaluated_is_measured(tmp_path, ema):
    runner = train(tmp_path, PreciseStatsHook(5), ema=ema)
    (hook,) = (h for h in runner.hooks if isinstance(h, EMAHook))
    hook._swap_ema_parameters()  # as validation does
    found = {k: v.clone() for k, v in runner.model.state_dict().items()}
    saved = torch.load(tmp_path / 'iter_14.pth', weights_only=True)['state_dict']
    assert not differences(found, saved)
    again = Net()
    again.load_state_dict(saved)
    recalibrate_model(runner, again, 5)
    assert not differences(again.state_dict(), saved)


def test_measuring_needs_samples_by_their_index(tmp_path):
    class Stream(IterableDataset):
        def __iter__(self):
            return iter([NoisyDigits().prepare_data(0)] * 20)

    loader = torch.utils.data.DataLoader(Stream(), batch_size=2)
    with pytest.raises(ValueError, match='got a stream, Stream'):
        train(tmp_path, PreciseStatsHook(), reliable=False, data=loader)


@pytest.mark.parametrize('options', [dict(num_batches=0), dict(interval=0)])
def test_numbers_below_one_are_refused(options):
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=f'{name} must be at least 1, got {value}'):
        PreciseStatsHook(**options)
