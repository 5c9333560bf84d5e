import pytest
from mmengine.config import Config

from ssn_mm.config_files import read_config
from ssn_mm.suites.stretch import stretched


def of(**stated):
    return stretched(Config(stated), 2)


def test_all_that_says_when_is_multiplied_and_the_rest_kept():
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
        'train_cfg': dict(by_epoch=True, max_epochs=30, val_interval=15),
        'param_scheduler': [
            dict(type='LinearLR', start_factor=0.1, begin=0, end=pytest.approx(0.6)),
            dict(type='MultiStepLR', milestones=[9, 18], by_epoch=True, gamma=0.1),
        ],
        'default_hooks.checkpoint': dict(interval=15),
    }


def test_what_never_happens_stays():
    checkpoint = dict(interval=-1, save_begin=5, max_keep_ckpts=3)
    found = of(
        train_cfg=dict(max_iters=8, val_begin=None), default_hooks=dict(checkpoint=checkpoint)
    )
    assert found == {
        'train_cfg': dict(max_iters=16, val_begin=None),
        'default_hooks.checkpoint': dict(interval=-1, save_begin=10, max_keep_ckpts=3),
    }


@pytest.mark.parametrize(
    ('scheduler', 'longer'),
    [
        (dict(type='PolyLR', end=100), dict(type='PolyLR', end=200)),
        (
            (dict(type='CosineRestartLR', periods=[2, 8], restart_weights=[1, 1]),),
            [dict(type='CosineRestartLR', periods=[4, 16], restart_weights=[1, 1])],
        ),
        (
            dict(gen=[dict(type='StepLR', step_size=3)], disc=dict(type='LinearLR', end=4)),
            dict(gen=[dict(type='StepLR', step_size=6)], disc=dict(type='LinearLR', end=8)),
        ),
        (dict(type='ExponentialLR', gamma=0.81), dict(type='ExponentialLR', gamma=0.9)),
        (dict(type='OneCycleLR', total_steps=7), dict(type='OneCycleLR', total_steps=14)),
    ],
)
def test_every_form_of_schedules_is_stretched(scheduler, longer):
    found = of(train_cfg=dict(max_iters=1), param_scheduler=scheduler)
    if 'gamma' in longer:
        longer['gamma'] = pytest.approx(longer['gamma'])
    assert found['param_scheduler'] == longer


def test_intervals_that_change_do_so_later():
    found = of(train_cfg=dict(max_iters=9, val_interval=3, dynamic_intervals=[(6, 1)]))
    assert found['train_cfg'] == dict(max_iters=18, val_interval=6, dynamic_intervals=[[12, 2]])


@pytest.mark.parametrize('whole', [False, True])
def test_a_suite_stretches_what_it_trains_in_whichever_way_it_is_stated(suite, whole):
    own = dict(train_cfg=dict(max_epochs=3)) if whole else {'train_cfg.max_epochs': 3}
    changes = dict(
        options={'train_cfg.max_epochs': 80},
        configs={name: dict(config=f'{name}.py', options=own) for name in ('bn', 'ssn')},
    )
    for times in (1, 2):
        for run in suite(**changes, stretch=times).runs:
            assert read_config(run.config, run.options).train_cfg.max_epochs == 3 * times


def test_a_wrong_stretch_is_refused(suite):
    with pytest.raises(ValueError, match='stretch must be a whole number of times, got -1'):
        suite(stretch=-1)
    with pytest.raises(ValueError, match='stretch must be a whole number of times, got 0'):
        suite(stretch=0)
    with pytest.raises(
        ValueError, match=r'bn\.py: train_cfg has no max_epochs or max_iters to mul'
    ):
        suite(stretch=2)
