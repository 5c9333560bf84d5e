import io
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
from mmengine.config import Config

from ssn_mm.engine import run
from ssn_mm.engine.start import StartHook


class Interrupted(io.BytesIO):
    """A runner that Ctrl-C reaches where PyTorch makes a RuntimeError of it."""

    iter, hooks = 7, (StartHook(),)

    def train(self):
        torch.save({'weight': torch.zeros(10_000)}, self)

    def write(self, data):
        if self.tell():
            raise KeyboardInterrupt
        return super().write(data)


def test_an_interrupt_that_became_another_error_is_one(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(run, 'build_runner', lambda cfg: Interrupted())
    with pytest.raises(RuntimeError, match='unexpected pos'):
        Interrupted().train()
    with pytest.raises(SystemExit, match='130'):
        run.train(Config(dict(work_dir=str(tmp_path))))
    assert 'Interrupted at iteration 7; there is no checkpoint yet' in capsys.readouterr().out


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
