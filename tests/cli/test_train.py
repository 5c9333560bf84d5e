"""What tools/train.py does around mmengine's training."""

import io
import shlex

import pytest
import resumed  # noqa: F401, registers NoisyPictures
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from small_net import Net

from ssn_mm.cli import train as tool
from ssn_mm.engine.start import StartHook


class Interrupted(io.BytesIO):
    """A runner that Ctrl-C reaches where PyTorch makes a RuntimeError of it."""

    iter, hooks, rank, launcher = 7, (StartHook(),), 0, 'none'
    train_loop, max_iters = None, 14

    def __init__(self, cfg):
        super().__init__()
        self.cfg, self.work_dir, self.log_dir = cfg, cfg.work_dir, f'{cfg.work_dir}/now'

    def train(self):
        torch.save({'weight': torch.zeros(10_000)}, self)

    def write(self, data):
        if self.tell():
            raise KeyboardInterrupt
        return super().write(data)


def test_an_interrupt_that_became_another_error_is_one(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(tool, 'build_runner', Interrupted)
    names = ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper')
    parts = {name: dict(type='X') for name in names}
    (tmp_path / 'my.py').write_text('')
    cfg = Config(dict(work_dir=str(tmp_path / 'a b'), **parts), filename=str(tmp_path / 'my.py'))
    with pytest.raises(RuntimeError, match='unexpected pos'):
        Interrupted(cfg).train()
    with pytest.raises(SystemExit, match='130'):
        tool.train(cfg)
    told, again = capsys.readouterr().out.strip().splitlines()
    assert told == 'Interrupted at iteration 7; there is no checkpoint yet. Go on with it:'
    assert shlex.split(again)[-2:] == [str(tmp_path / 'a b/my.py'), '--resume']


def test_a_training_of_no_iteration_is_refused_before_a_scheduler_is_built(tmp_path):
    MODELS.register_module('SmallNet', module=Net, force=True)
    cfg = Config(
        dict(
            work_dir=str(tmp_path),
            model=dict(type='SmallNet'),
            train_dataloader=dict(
                dataset=dict(type='NoisyPictures'),
                sampler=dict(type='DefaultSampler', shuffle=True),
                batch_size=11,
                drop_last=True,
            ),
            train_cfg=dict(by_epoch=True, max_epochs=3),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
            param_scheduler=dict(type='LinearLR', by_epoch=False),
        )
    )
    with pytest.raises(ValueError, match='nothing to train: an epoch of train_dataloader has no'):
        tool.train(cfg)
