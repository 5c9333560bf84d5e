"""Figures during training, to whatever mmengine's visualizer writes to; SN is recorded, too."""

import json

import cv2
import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

from ssn_mm import SN, SSN
from ssn_mm.engine import read_ratios


class Net(BaseModel):
    def __init__(self, layer):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), layer, nn.Conv2d(4, 4, 3))

    def forward(self, x, mode='loss'):
        return dict(loss=self.body(x).square().mean())


def train(work_dir, layer, hooks):
    runner = Runner(
        Net(layer),
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=[dict(x=torch.randn(1, 8, 8)) for _ in range(8)],
            batch_size=2,
            sampler=dict(type='InfiniteSampler'),
            collate_fn=dict(type='default_collate'),
        ),
        train_cfg=dict(by_epoch=False, max_iters=6),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        custom_hooks=hooks,
        default_hooks=dict(checkpoint=None),
        experiment_name=f'{work_dir.parent.name}-{work_dir.name}',
        log_level='ERROR',
    )
    runner.train()


def pictures(work_dir):
    return sorted(path.stem for path in work_dir.glob('*/vis_data/vis_image/*.png'))


def test_figures_go_to_the_visualizer_at_the_interval_and_at_the_end(tmp_path):
    hooks = [dict(type='SSNRadiusHook', interval=2), dict(type='RatiosFigureHook', interval=4)]
    train(tmp_path / 'ssn', SSN(4), hooks)
    names = ('layers', 'network', 'progress', 'trajectory')
    assert pictures(tmp_path / 'ssn') == [f'ratios_{n}_{step}' for n in names for step in (4, 6)]
    (file,) = (tmp_path / 'ssn').rglob('ratios_network_6.png')
    assert (cv2.imread(str(file)) < 200).any()


def test_nothing_is_drawn_before_there_is_a_record_or_without_layers(tmp_path):
    hooks = [dict(type='SSNRadiusHook', interval=5), dict(type='RatiosFigureHook', interval=2)]
    train(tmp_path / 'late', SSN(4), hooks)
    assert {name.rsplit('_', 1)[1] for name in pictures(tmp_path / 'late')} == {'6'}
    train(tmp_path / 'bn', nn.BatchNorm2d(4), hooks)
    assert pictures(tmp_path / 'bn') == []


def test_sn_is_recorded_without_a_radius(tmp_path):
    hooks = [dict(type='RatiosHook', interval=3), dict(type='RatiosFigureHook')]
    train(tmp_path / 'sn', SN(4), hooks)
    run = read_ratios(tmp_path / 'sn')
    assert run.iters.tolist() == [3, 6]
    assert ((run.ratios > 0.2) & (run.ratios < 0.5)).all()
    lines = (tmp_path / 'sn/ssn_ratios.jsonl').read_text().splitlines()
    assert json.loads(lines[1])['radius'] is None
    assert pictures(tmp_path / 'sn')


def test_a_figure_hook_without_one_that_records_is_refused(tmp_path):
    with pytest.raises(ValueError, match='RatiosFigureHook draws what another hook records'):
        train(tmp_path / 'run', SSN(4), [dict(type='RatiosFigureHook')])
    with pytest.raises(ValueError, match='interval must be at least 1 iteration, got 0'):
        train(tmp_path / 'run', SSN(4), [dict(type='RatiosFigureHook', interval=0)])
