"""PreciseStatsHook in mmengine's Runner."""

import pytest
import resumed
import torch
from mmengine.hooks import EMAHook
from small_net import Net
from torch import nn
from torch.utils.data import IterableDataset

from ssn_mm.engine.hooks import PreciseStatsHook, ReliabilityHook
from ssn_mm.engine.hooks.precise_stats_hook import recalibrate_model


class Spy(PreciseStatsHook):
    """Notes after which iterations it measures."""

    def after_train_iter(self, runner, batch_idx, *_, **__):
        if self._is_due(runner, batch_idx):
            runner.measured = [*getattr(runner, 'measured', []), runner.iter + 1]
        super().after_train_iter(runner, batch_idx)


def train(folder, precise=None, loop='iterations', stop=None, reliable=True, ema=None, **kwargs):
    """The training of resumed.py with a BatchNorm2d, and with these hooks."""
    averages = [EMAHook(momentum=0.1, update_buffers=ema == 'buffers too')] if ema else []
    return resumed.train(
        folder,
        loop,
        stop,
        interval=1 if stop else 20,
        second=nn.BatchNorm2d,
        standing=[*averages, *([ReliabilityHook()] if reliable else [])],
        hooks=[precise] if precise else [],
        **kwargs,
    )


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
    again = Net(second=nn.BatchNorm2d(4), dropout=0.3)
    again.load_state_dict(saved)
    recalibrate_model(runner, again, 5)
    assert not differences(again.state_dict(), saved)


def test_measuring_needs_samples_by_their_index(tmp_path):
    class Stream(IterableDataset):
        def __iter__(self):
            return iter([resumed.NoisyPictures().prepare_data(0)] * 20)

    loader = torch.utils.data.DataLoader(Stream(), batch_size=2)
    plain = dict(train_dataloader=loader, param_scheduler=None)  # mmengine's asks for its length
    with pytest.raises(ValueError, match='got a stream, Stream'):
        train(tmp_path, PreciseStatsHook(), reliable=False, **plain)


@pytest.mark.parametrize('options', [dict(num_batches=0), dict(interval=0)])
def test_numbers_below_one_are_refused(options):
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=f'{name} must be at least 1, got {value}'):
        PreciseStatsHook(**options)
