import pytest
from mmengine.config import Config

from ssn_mm.suites.stretch import stretched


def test_all_that_says_when_is_multiplied():
    cfg = Config(
        dict(
            train_cfg=dict(by_epoch=True, max_epochs=10, val_interval=5),
            param_scheduler=[
                dict(type='LinearLR', start_factor=0.1, begin=0, end=0.2),
                dict(type='MultiStepLR', milestones=[3, 6], by_epoch=True, gamma=0.1),
            ],
            default_hooks=dict(checkpoint=dict(interval=5), logger=dict(interval=50)),
        )
    )
    assert stretched(cfg, 3) == {
        'train_cfg.max_epochs': 30,
        'train_cfg.val_interval': 15,
        'param_scheduler': [
            dict(type='LinearLR', start_factor=0.1, begin=0, end=pytest.approx(0.6)),
            dict(type='MultiStepLR', milestones=[9, 18], by_epoch=True, gamma=0.1),
        ],
        'default_hooks.checkpoint.interval': 15,
    }


def test_one_scheduler_or_none_and_what_never_happens():
    cfg = Config(
        dict(
            train_cfg=dict(max_iters=100, val_interval=100),
            param_scheduler=dict(type='PolyLR', end=100),
            default_hooks=dict(checkpoint=dict(interval=-1)),
        )
    )
    assert stretched(cfg, 2) == {
        'train_cfg.max_iters': 200,
        'train_cfg.val_interval': 200,
        'param_scheduler': dict(type='PolyLR', end=200),
    }
    assert stretched(Config(dict(train_cfg=dict(max_iters=1))), 2) == {'train_cfg.max_iters': 2}


def test_a_suite_stretches_what_it_trains(suite):
    options = {'train_cfg': dict(max_epochs=3)}
    plain, longer = suite(options=options).runs, suite(options=options, stretch=2).runs
    assert [run.name for run in plain] == [run.name for run in longer]
    assert all(run.options['train_cfg.max_epochs'] == 6 for run in longer)
    with pytest.raises(ValueError, match='stretch must be 1 or more times, got -1'):
        suite(stretch=-1)
    with pytest.raises(
        ValueError, match=r'bn\.py: train_cfg has no max_epochs or max_iters to mul'
    ):
        suite(stretch=2)
