"""A training of seconds in mmengine's Runner, whose small network selects, and what to watch."""

from pathlib import Path
from uuid import uuid4

import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.runner import Runner
from small_net import Net, StopAfter
from torch.utils.data import Dataset

from ssn_mm.engine.hooks import SSNRadiusHook
from ssn_mm.layers import ssn_layers


class Pictures(Dataset):
    """Noise, brighter in every second picture."""

    def __init__(self, count=16):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        noise = torch.randn(3, 6, 6, generator=torch.Generator().manual_seed(index))
        return noise + index % 2, index % 2


class Loss(BaseMetric):
    """The mean loss on the validation pictures."""

    default_prefix = 'val'

    def process(self, data_batch, data_samples):
        self.results.append(data_samples[0].item())

    def compute_metrics(self, results):
        return dict(loss=sum(results) / len(results))


class Watch(Hook):
    """Notes what holds after each iteration, when all other hooks are done."""

    priority = 'LOWEST'

    def __init__(self):
        self.radii, self.selected, self.states, self.moments, self.losses = [], [], [], [], []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        layers = dict(ssn_layers(runner.model))
        self.radii.append(next(iter(layers.values())).radius.item())
        self.selected.append([name for layer in layers.values() for name in layer.selected])
        self.states.append({k: v.clone() for k, v in runner.model.state_dict().items()})
        moments = [m for s in runner.optim_wrapper.optimizer.state.values() for m in s.values()]
        self.moments.append([m.clone() for m in moments if isinstance(m, torch.Tensor)])
        self.losses.append(outputs['loss'].item())


SGD = dict(type='SGD', lr=0.3, momentum=0.9, weight_decay=1e-3)


def train(
    folder, make=Net, hooks=(), iters=12, stop=None, radius=None, optimizer=SGD, batch=4, **kwargs
):
    """Trains what ``make`` makes; ``kwargs`` are the optimizer wrapper's.

    Returns:
        The runner, and the :class:`Watch`.
    """
    torch.manual_seed(0)
    watch = Watch()
    resume = kwargs.pop('resume', False)
    val = dict(dataset=Pictures(4), sampler=dict(type='DefaultSampler', shuffle=False))
    runner = Runner(
        model=make(),
        work_dir=str(folder),
        train_dataloader=dict(
            dataset=Pictures(),
            # the other sampler's loop sleeps for two seconds after each pass
            sampler=dict(type='InfiniteSampler', shuffle=False),
            batch_size=batch,
            collate_fn=dict(type='default_collate'),
        ),
        val_dataloader=dict(**val, batch_size=4, collate_fn=dict(type='default_collate')),
        val_evaluator=[Loss()],
        val_cfg=dict(),
        train_cfg=dict(by_epoch=False, max_iters=iters, val_interval=4),
        optim_wrapper=dict(
            {'constructor': 'SSNOptimWrapperConstructor'} | kwargs, optimizer=dict(optimizer)
        ),
        default_hooks=dict(
            checkpoint=dict(type='CheckpointHook', interval=stop or 100, by_epoch=False),
            reliability=dict(type='ReliabilityHook'),
        ),
        custom_hooks=[
            radius or SSNRadiusHook(interval=100),
            *hooks,
            watch,
            *([StopAfter(stop)] if stop else []),
        ],
        randomness=dict(seed=0),
        resume=resume,
        cfg=Config(dict()),
        experiment_name=f'{Path(folder).name}-{uuid4()}',
        log_level='WARNING',
    )
    try:
        runner.train()
    except KeyboardInterrupt:
        if not stop:
            raise
    return runner, watch


def last_checkpoint(folder):
    """What the newest checkpoint of a folder holds."""
    return torch.load((Path(folder) / 'last_checkpoint').read_text(), weights_only=True)


def assert_stays_selected(selected):
    """A row that has selected, in any iteration, keeps its selection; in the end all have one."""
    assert None not in selected[-1]
    for row in zip(*selected, strict=True):
        names = [name for name in row if name]
        assert set(row[row.index(names[0]) :]) == {names[0]}
