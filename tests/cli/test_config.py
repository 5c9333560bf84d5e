"""A config as every tool reads it."""

from datetime import timedelta

import pytest
import torch.distributed as dist
from mmengine.config import Config

from ssn_mm.cli import config


@pytest.mark.parametrize(('given', 'expected'), [({}, None), (dict(timeout=7), timedelta(0, 7))])
def test_processes_on_cpus_obey_the_configs_timeout(monkeypatch, given, expected):
    joined = []
    monkeypatch.setattr(dist, 'init_process_group', lambda *args, **kw: joined.append((args, kw)))
    config._distribute_over_cpus(Config(dict(env_cfg=dict(dist_cfg=dict(backend='nccl', **given)))))
    assert joined == [(('gloo',), dict(timeout=expected))]
