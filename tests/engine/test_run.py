import io
import shlex
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
from mmengine.config import Config

from ssn_mm.engine import run
from ssn_mm.engine.start import StartHook


class Interrupted(io.BytesIO):
    """A runner that Ctrl-C reaches where PyTorch makes a RuntimeError of it."""

    iter, hooks, rank, launcher = 7, (StartHook(),), 0, 'none'

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
    monkeypatch.setattr(run, 'build_runner', Interrupted)
    names = ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper')
    parts = {name: dict(type='X') for name in names}
    (tmp_path / 'my.py').write_text('')
    cfg = Config(dict(work_dir=str(tmp_path / 'a b'), **parts), filename=str(tmp_path / 'my.py'))
    with pytest.raises(RuntimeError, match='unexpected pos'):
        Interrupted(cfg).train()
    with pytest.raises(SystemExit, match='130'):
        run.train(cfg)
    told, again = capsys.readouterr().out.strip().splitlines()
    assert told == 'Interrupted at iteration 7; there is no checkpoint yet. Go on with it:'
    assert shlex.split(again)[-2:] == [str(tmp_path / 'a b/my.py'), '--resume']


@pytest.mark.parametrize(
    ('error', 'code'), [(KeyboardInterrupt(), 130), (SystemExit(3), 3), (ValueError(), None)]
)
def test_a_tool_ends_with_130_after_an_interrupt_only(error, code):
    def main():
        raise error

    with pytest.raises(SystemExit if code else ValueError) as caught:
        run.run_tool(main)
    assert code is None or caught.value.code == code


@pytest.mark.parametrize(('given', 'expected'), [({}, None), (dict(timeout=7), timedelta(0, 7))])
def test_processes_on_cpus_obey_the_configs_timeout(monkeypatch, given, expected):
    joined = []
    monkeypatch.setattr(dist, 'init_process_group', lambda *args, **kw: joined.append((args, kw)))
    run._distribute_over_cpus(Config(dict(env_cfg=dict(dist_cfg=dict(backend='nccl', **given)))))
    assert joined == [(('gloo',), dict(timeout=expected))]
