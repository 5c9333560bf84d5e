import random

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.hooks import EMAHook, Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from torch import nn

from ssn_mm import SSN
from ssn_mm.engine import ReliabilityHook, SSNRadiusHook


@DATASETS.register_module()
class NoisyPictures(BaseDataset):
    """Ten pictures, each with noise by all three random generators, as augmentations draw it."""

    def load_data_list(self):
        return [dict(label=index % 2) for index in range(10)]

    def prepare_data(self, index):
        noise = torch.rand(1) + random.random() + float(np.random.rand())
        picture = torch.randn(3, 6, 6, generator=torch.Generator().manual_seed(index))
        return picture + noise, index % 2


class Net(BaseModel):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.second = nn.Conv2d(3, 4, 3), SSN(4), SSN(4)
        self.dropout, self.fc = nn.Dropout(0.3), nn.Linear(4, 2)

    def forward(self, inputs, labels, mode='tensor'):
        x = self.dropout(self.second(self.norm(self.conv(inputs)).relu()).mean((2, 3)))
        loss = nn.functional.cross_entropy(self.fc(x), labels)
        return dict(loss=loss) if mode == 'loss' else [loss]


class StopAfter(Hook):
    """As if the machine died after so many iterations."""

    priority = 'LOWEST'

    def __init__(self, iterations):
        self.iterations = iterations

    def after_train_iter(self, runner, *_, **__):
        if runner.iter + 1 == self.iterations:
            raise KeyboardInterrupt


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
    **kwargs,
):
    torch.manual_seed(0)
    cfg, sampler = LOOPS[loop]
    resume = kwargs.get('resume', False)
    known = resume and (folder / 'last_checkpoint').exists()
    runner = Runner(
        model=Net(),
        work_dir=str(folder),
        train_dataloader=dict(
            dataset=dict(type='NoisyPictures'),
            sampler=dict(type=sampler, shuffle=True),
            batch_size=2,
            num_workers=workers,
            persistent_workers=workers > 0,
            collate_fn=dict(type='default_collate'),
        ),
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
            ),
        ),
        custom_hooks=[
            SSNRadiusHook(interval=4),
            EMAHook(momentum=0.1),
            ReliabilityHook(),
            *([StopAfter(stop)] if stop else []),
            *hooks,
        ],
        randomness=dict(seed=None if known else seed),
        cfg=Config(dict()),
        experiment_name=f'{folder.name}-{stop}-{resume}-{random.random()}',
        log_level='WARNING',
        **kwargs,
    )
    if stop:
        with pytest.raises(KeyboardInterrupt):
            runner.train()
    else:
        runner.train()
    return runner


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


@pytest.mark.parametrize('loop', LOOPS)
def test_a_run_resumed_at_any_iteration_equals_the_uninterrupted_one(tmp_path, loop, long):
    train(tmp_path / 'whole', loop)
    whole = state(tmp_path / 'whole')
    assert len(whole['ema_state_dict']) > 10
    for stop in range(1, 14) if long else (5, 8):
        folder = tmp_path / f'stop{stop}'
        train(folder, loop, stop=stop)
        train(folder, loop, resume=True)  # without the seed, which the checkpoint knows
        assert_same(state(folder), whole, f'stop {stop}')
        ratios = [(f / 'ssn_ratios.jsonl').read_text() for f in (folder, tmp_path / 'whole')]
        assert ratios[0] == ratios[1]


@pytest.mark.parametrize('loop', ['iterations', 'epochs'])
def test_the_number_of_workers_changes_nothing_and_resuming_with_workers_is_exact(tmp_path, loop):
    train(tmp_path / 'whole', loop)
    train(tmp_path / 'parts', loop, stop=6, workers=2)
    train(tmp_path / 'parts', loop, workers=1, resume=True)
    assert_same(state(tmp_path / 'parts'), state(tmp_path / 'whole'))


def test_a_run_stopped_between_two_steps_of_the_optimizer_keeps_its_gradients(tmp_path):
    train(tmp_path / 'whole', 'iterations', accumulate=4)
    for stop in (6, 8):
        train(tmp_path / f'{stop}', 'iterations', stop=stop, accumulate=4)
        assert ('accumulated_gradients' in last(tmp_path / f'{stop}')) == (stop % 4 != 0)
        train(tmp_path / f'{stop}', 'iterations', accumulate=4, resume=True)
        assert_same(state(tmp_path / f'{stop}'), state(tmp_path / 'whole'))


def test_without_the_hook_resuming_is_not_exact(tmp_path, monkeypatch):
    """So the tests above are able to fail."""
    for name in ('before_train', 'before_train_iter'):
        monkeypatch.setattr(ReliabilityHook, name, Hook.__dict__[name])
    train(tmp_path / 'whole', 'iterations')
    train(tmp_path / 'parts', 'iterations', stop=6)
    train(tmp_path / 'parts', 'iterations', resume=True)
    weights = [state(tmp_path / f)['state_dict']['conv.weight'] for f in ('whole', 'parts')]
    assert not torch.equal(*weights)


@pytest.mark.parametrize('damage', ['cut short', 'empty', 'flipped', 'pointer lost', 'pointer cut'])
def test_a_damaged_checkpoint_is_passed_by_for_the_one_before(tmp_path, damage):
    train(tmp_path / 'whole', 'iterations')
    folder = tmp_path / 'parts'
    train(folder, 'iterations', stop=9)
    newest = folder / 'iter_9.pth'
    content = bytearray(newest.read_bytes())
    if damage == 'cut short':
        newest.write_bytes(content[: len(content) // 2])
    elif damage == 'empty':
        newest.write_bytes(b'')
    elif damage == 'flipped':
        place = content.find(last(folder)['state_dict']['conv.weight'].numpy().tobytes())
        content[place] ^= 1
        newest.write_bytes(content)
    elif damage == 'pointer lost':
        (folder / 'last_checkpoint').unlink()
    else:
        (folder / 'last_checkpoint').write_text('')
    runner = train(folder, 'iterations', resume=True)
    assert runner.iter == 14
    assert_same(state(folder), state(tmp_path / 'whole'))
    intact = 'iter_9' if 'pointer' in damage else 'iter_8'
    log = ''.join(file.read_text() for file in folder.rglob('*.log'))
    assert f'Resuming from {folder / intact}.pth, the newest that is intact' in log
    assert ('iter_9.pth is damaged' in log) == ('pointer' not in damage)


def test_only_damaged_checkpoints_are_an_error(tmp_path):
    train(tmp_path, 'iterations', stop=2)
    for file in tmp_path.glob('iter_*.pth'):
        file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r'all 2 checkpoints in .* are damaged; start anew'):
        train(tmp_path, 'iterations', resume=True)
    with pytest.raises(ValueError, match=r'iter_2\.pth is damaged'):
        train(tmp_path, 'iterations', load_from=str(tmp_path / 'iter_2.pth'))


def test_resuming_without_a_checkpoint_begins_anew(tmp_path):
    runner = train(tmp_path, 'iterations', resume=True)
    assert runner.iter == 14


def test_keeping_one_checkpoint_only_is_warned_of(tmp_path):
    train(tmp_path, 'iterations', keep=1, interval=7)
    (log,) = tmp_path.rglob('*.log')
    assert 'max_keep_ckpts=1 removes the last checkpoint before' in log.read_text()


def test_broken_is_one_of_two():
    with pytest.raises(ValueError, match="'stop' or 'skip', got 'ignore'"):
        ReliabilityHook(broken='ignore')
