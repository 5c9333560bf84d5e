"""A training of a second that is stopped and resumed, its data as random as its network."""

import os
import random
from uuid import uuid4

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.hooks import EMAHook
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from small_net import Net, StopAfter

from ssn_mm.engine.hooks import ReliabilityHook, SSNRadiusHook


@DATASETS.register_module()
class NoisyPictures(BaseDataset):
    """Ten pictures, each with noise by all three random generators, as augmentations draw it."""

    def load_data_list(self):
        return [dict(label=index % 2) for index in range(10)]

    def prepare_data(self, index):
        noise = torch.rand(1) + random.random() + float(np.random.rand())
        picture = torch.randn(3, 6, 6, generator=torch.Generator().manual_seed(index))
        return picture + noise, index % 2


Runner._log_env = lambda *_: None  # seconds, in which compilers tell their versions

LOOPS = {
    'iterations': (dict(by_epoch=False, max_iters=14), 'InfiniteSampler'),
    'passes': (dict(by_epoch=False, max_iters=14), 'DefaultSampler'),
    'epochs': (dict(by_epoch=True, max_epochs=3), 'DefaultSampler'),
}


def train(
    folder,
    loop,
    stop=None,
    workers=0,
    accumulate=1,
    keep=20,
    interval=1,
    seed=3,
    hooks=(),
    loader=(),
    checkpoint=(),
    second=None,
    standing=None,
    **kwargs,
):
    """Trains in a folder; ``second`` is the class of the second norm, if not SSN.

    ``hooks`` come after EMA's and reliability's, or after those that are ``standing`` there.
    """
    torch.manual_seed(0)
    cfg, sampler = LOOPS[loop]
    resume = kwargs.get('resume', False)
    known = resume and (folder / 'last_checkpoint').exists()
    arguments = dict(
        model=Net(second=second and second(4), dropout=0.3),
        work_dir=str(folder),
        train_dataloader=dict(
            dataset=dict(type='NoisyPictures'),
            sampler=dict(type=sampler, shuffle=True),
            batch_size=2,
            num_workers=workers,
            persistent_workers=workers > 0,
            collate_fn=dict(type='default_collate'),
        )
        | dict(loader),
        train_cfg=cfg,
        optim_wrapper=dict(
            constructor='SSNOptimWrapperConstructor',
            optimizer=dict(type='AdamW', lr=0.05),
            accumulative_counts=accumulate,
        ),
        param_scheduler=dict(type='CosineAnnealingLR', by_epoch=False, T_max=14),
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=1),
            checkpoint=dict(
                type='CheckpointHook',
                interval=interval,
                by_epoch=False,
                max_keep_ckpts=keep,
                backend_args=dict(backend='atomic'),
            )
            | dict(checkpoint),
        ),
        custom_hooks=[
            SSNRadiusHook(interval=4),
            *([EMAHook(momentum=0.1), ReliabilityHook()] if standing is None else standing),
            *([StopAfter(stop)] if stop else []),
            *hooks,
        ],
        randomness=dict(seed=None if known else seed),
        cfg=Config(dict()),
        experiment_name=f'{folder.name}-{stop}-{resume}-{uuid4()}',
        log_level='INFO',
    )
    runner = Runner(**arguments | kwargs)
    if stop:
        with pytest.raises(KeyboardInterrupt):
            runner.train()
    else:
        runner.train()
    end_workers(runner)
    return runner


def end_workers(runner):
    """At once; those of garbage that Python collects are waited for, five seconds each."""
    loop = runner.train_loop
    endless = getattr(loop, 'dataloader_iterator', None)
    for iterator in (loop.dataloader._iterator, getattr(endless, '_iterator', None)):
        if loop.dataloader.num_workers and iterator is not None:
            iterator._shutdown_workers()


def last(folder):
    name = (folder / 'last_checkpoint').read_text()
    return torch.load(name, weights_only=True)


def assert_same(one, other, where=''):
    """Nested containers of tensors, equal to the last bit."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same(one[key], other[key], f'{where}.{key}')
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for index, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f'{where}[{index}]')
    else:
        assert one == other, where


STATE = ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers')


def state(folder):
    return {key: last(folder)[key] for key in STATE}


def train_under_torchrun(folder, stop, file):
    """A start by the torchrun whose process is this one's parent, for a process of its own."""
    os.environ.update(TORCHELASTIC_RUN_ID='none', TORCHELASTIC_RESTART_COUNT='0')
    train(folder, 'iterations', stop=stop, resume=file)
