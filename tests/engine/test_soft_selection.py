"""mmengine trains layers of other selectors, and makes them one-hot at the end."""

import pytest
from mmengine.hooks import EMAHook, Hook
from small_net import Net
from torch import nn
from trainings import last_checkpoint, train

from ssn_mm import SN, SSN, set_temperature
from ssn_mm.engine.hooks import SSNRadiusHook
from ssn_mm.layers import selector_norms
from ssn_mm.weights.loading import load_weights


class SoftNet(Net):
    def __init__(self, selector='softmax'):
        super().__init__()
        self.norm, self.third = SSN(4, selector=selector), nn.Identity()


def hook(**options):
    return SSNRadiusHook(interval=100, **options)


@pytest.mark.parametrize('selector', ['softmax', 'gumbel', 'softmax+entropy', 'argmax'])
def test_a_training_ends_one_hot_and_is_validated_before_and_after(tmp_path, selector):
    heats, found = [], []

    class Watch(EMAHook):
        def __init__(self):
            super().__init__()

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            super().after_train_iter(runner, batch_idx, data_batch, outputs)
            heats.append(runner.model.norm.temperature.item())

    class Metrics(Hook):
        priority = 'LOWEST'

        def after_val_epoch(self, runner, metrics=None):
            found.append(metrics)

    ema = Watch()
    runner, _ = train(
        tmp_path, lambda: SoftNet(selector), radius=hook(), hooks=[ema, Metrics()], iters=12
    )
    assert heats[0] == 1
    assert heats[-1] == pytest.approx(0.1 if selector == 'gumbel' else 1)
    assert None not in runner.model.norm.selected
    assert ema.ema_model.module.norm.temperature == 0
    assert last_checkpoint(tmp_path)['state_dict']['norm.temperature'] == 0
    assert [set(own) for own in found] == [
        {'val/loss'},
        {'val/loss'},
        {'val/loss', 'soft/val/loss'},
    ]
    assert found[-1]['val/loss'] != found[-1]['soft/val/loss']
    scalars = runner.message_hub.log_scalars
    assert scalars['val/soft/val/loss'].current() == found[-1]['soft/val/loss']
    has_entropy = 'train/loss_selection_entropy' in scalars
    assert has_entropy == (selector == 'softmax+entropy')
    assert 'parse_losses' not in vars(runner.model)


@pytest.mark.parametrize('stop', [5, 11])
def test_a_resumed_training_equals_one_that_ran_through(tmp_path, stop):
    options = dict(make=lambda: SoftNet('gumbel'), iters=12)
    train(tmp_path / 'whole', radius=hook(), **options)
    train(tmp_path / 'parts', radius=hook(), stop=stop, **options)
    runner, _ = train(tmp_path / 'parts', radius=hook(), resume=True, **options)
    whole = last_checkpoint(tmp_path / 'whole')['state_dict']
    assert [name for name, _ in selector_norms(runner.model)] == ['norm']
    assert (
        whole['norm.temperature']
        == last_checkpoint(tmp_path / 'parts')['state_dict']['norm.temperature']
    )


def test_sparsestmax_is_the_same_before_and_after(tmp_path):
    runner, _ = train(tmp_path, radius=hook(soft_metrics=True), iters=12)
    scalars = runner.message_hub.log_scalars
    assert scalars['val/soft/val/loss'].current() == scalars['val/val/loss'].current()
    runner, _ = train(tmp_path / 'plain', radius=hook(), iters=12)
    assert 'val/soft/val/loss' not in runner.message_hub.log_scalars


def test_a_checkpoint_of_another_selector_starts_sn_with_what_it_selected():
    theirs, own = SoftNet('argmax'), Net()
    nn.init.eye_(theirs.norm.ratio_logits)
    set_temperature(theirs, 0)
    own.norm = SN(4)
    load_weights(own, theirs.state_dict())
    assert own.norm.ratios().round(decimals=6).equal(theirs.norm.ratios())


def test_a_schedule_and_a_weight_are_checked():
    with pytest.raises(ValueError, match='entropy_weight must be at least 0, got -1'):
        hook(entropy_weight=-1)
    with pytest.raises(ValueError, match="unknown schedule 'cold'"):
        hook(temperature='cold')
