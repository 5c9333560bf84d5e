"""What a run asks of its batch norms, in mmengine's Runner with SSN; docs/openmmlab.md."""

from pathlib import Path
from types import SimpleNamespace

import mmpretrain.models
import pytest
import torch
import torch.distributed as dist
from distributed import on_ranks
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

from ssn_mm.engine.norm_settings import extend_to_switch_norms
from ssn_mm.layers import SSN, switch_norms

OURS = 'SSNOptimWrapperConstructor'
BN = torch.tensor([[0.0, 0.0, 1.0]] * 2)


class Images(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        return dict(inputs=torch.randn(3, 16, 16, generator=generator) + index)


class Net(BaseModel):
    """mmpretrain's ResNet, whose loss is that its last map is small."""

    def __init__(self, norm='SSN', backbone=None):
        super().__init__()
        own = dict(depth=18, stem_channels=8, base_channels=8, norm_cfg=dict(type=norm))
        self.backbone = backbone or mmpretrain.models.ResNet(**own)

    def forward(self, inputs, mode='tensor'):
        y = self.backbone(inputs)[-1]
        return dict(loss=y.square().mean()) if mode == 'loss' else y


def layers_of(model):
    return [layer for _, layer in switch_norms(model)]


def run(work_dir, model, hooks=(), paramwise=None, constructor=OURS, accumulate=1, **cfg):
    runner = Runner(
        model=model,
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=Images(),
            sampler=dict(type='DefaultSampler', shuffle=False),
            batch_size=4,
            collate_fn=dict(type='default_collate'),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=2),
        optim_wrapper=dict(
            constructor=constructor,
            optimizer=dict(type='SGD', lr=0.1, weight_decay=1e-4),
            paramwise_cfg=paramwise,
            accumulative_counts=accumulate,
        ),
        custom_hooks=[dict(type='SSNRadiusHook'), *hooks],
        default_hooks=dict(checkpoint=None),
        # a logger's name is this and the second: tests must not share it
        experiment_name='-'.join(Path(work_dir).parts[-2:]),
        log_level='WARNING',
        default_scope='mmpretrain',
        launcher='pytorch' if dist.is_initialized() else 'none',
        cfg=cfg,
    )
    runner.train()
    return runner, '\n'.join(file.read_text() for file in Path(work_dir).rglob('*.log'))


def batch_statistics(conv):
    """Mean over both batches of a convolution's mean and unbiased variance per channel."""
    batches = torch.stack([image['inputs'] for image in map(Images().__getitem__, range(8))])
    with torch.no_grad():
        maps = [conv(batch) for batch in batches.split(4)]
    means = torch.stack([m.mean((0, 2, 3)) for m in maps]).mean(0)
    return means, torch.stack([m.transpose(0, 1).flatten(1).var(1) for m in maps]).mean(0)


@pytest.mark.parametrize('norm', ['SSN', 'SN'])
def test_precise_bn_recomputes_the_running_statistics_of_bns_part(tmp_path, norm):
    model = Net(norm)
    with torch.no_grad():
        model.backbone.bn1.ratio_logits.copy_(BN)
    precise = dict(type='PreciseBNHook', num_samples=8, priority='ABOVE_NORMAL')
    for hooks in ([precise], []):
        run(tmp_path / str(len(hooks)), model, hooks)
        mean, var = batch_statistics(model.backbone.conv1)
        found = (model.backbone.bn1.running_mean, model.backbone.bn1.running_var)
        near = [torch.allclose(a, b, 1e-4, 1e-5) for a, b in zip(found, (mean, var), strict=True)]
        assert near == [bool(hooks)] * 2
        assert model.backbone.bn1.momentum == 0.1


def test_precise_bn_leaves_layers_alone_that_have_no_running_statistics(tmp_path):
    own = dict(depth=18, stem_channels=8, base_channels=8)
    norm = dict(type='SSN', normalizers=('IN', 'LN'))
    model = Net(backbone=mmpretrain.models.ResNet(norm_cfg=norm, **own))
    run(tmp_path, model, [dict(type='PreciseBNHook', num_samples=8)])
    assert all(m.running_mean is None for m in layers_of(model))


ADVICE = "norm_decay_mult does not reach SSN: set optim_wrapper=dict(constructor='SSNOptim"


def test_an_optimizer_without_the_rules_for_ratio_logits_is_warned_of_once(tmp_path):
    for number, paramwise in enumerate((None, dict(norm_decay_mult=0.0))):
        place = tmp_path / str(number)
        _, log = run(place, Net(), (), paramwise, 'DefaultOptimWrapperConstructor')
        assert log.count(ADVICE) == 1
    for number, paramwise in enumerate((dict(norm_decay_mult=0.0), dict(ratio_decay_mult=1.0))):
        assert ADVICE not in run(tmp_path / f'ours{number}', Net(), (), paramwise)[1]
    place = tmp_path / 'sn'
    log = run(place, Net('SN'), (), constructor='DefaultOptimWrapperConstructor')[1]
    assert ADVICE not in log  # whose authors have no rules


class Plain(nn.Module):
    """A network that stops batch norm by itself, and no other norm."""

    def __init__(self):
        super().__init__()
        self.norm_eval, self.norm = True, SSN(3)

    def forward(self, x):
        return (self.norm(x),)


def test_norm_eval_of_a_network_that_is_no_base_module_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r'Plain \(backbone\) has norm_eval=True.*norm_eval=False'):
        run(tmp_path, Net(backbone=Plain()))


def test_accumulation_is_warned_of_where_layers_measure_batches(tmp_path):
    for normalizers, count in ((('IN', 'LN', 'BN'), 1), (('IN', 'LN'), 0)):
        norm = dict(type='SSN', normalizers=normalizers)
        model = Net(backbone=mmpretrain.models.ResNet(18, norm_cfg=norm, base_channels=8))
        place = tmp_path / str(count)
        _, log = run(place, model, accumulate=2)
        assert log.count('because the model has BatchNorm layers') == count


def train_on_rank(rank, place):
    wrapper = dict(type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False)
    found = []
    for options in (dict(), dict(sync_bn='torch')):
        folder = place / str(len(options))
        runner, _ = run(folder, Net(), model_wrapper_cfg=wrapper, **options)
        layers = layers_of(runner.model)
        found.append(([layer.sync for layer in layers], layers[0].running_mean))
    torch.save(found, place / f'{rank}.pth')


def test_sync_bn_synchronises_bns_part_and_nothing_else_does(tmp_path):
    on_ranks(2, tmp_path, train_on_rank, tmp_path)
    ranks = [torch.load(tmp_path / f'{rank}.pth') for rank in range(2)]
    for run_of_ranks, synchronised in zip(zip(*ranks, strict=True), (False, True), strict=True):
        assert [sync for sync, _ in run_of_ranks] == [[synchronised] * 20] * 2
        mine, theirs = (mean for _, mean in run_of_ranks)
        assert torch.allclose(mine, theirs, rtol=1e-4) == synchronised


@pytest.mark.parametrize('place', ['cfg', 'strategy'])
def test_sync_bn_is_read_from_a_runners_config_or_its_strategy(place):
    model = Net()
    given = (
        dict(cfg={}, strategy=SimpleNamespace())
        | {
            'cfg': dict(cfg=dict(sync_bn='torch')),
            'strategy': dict(strategy=SimpleNamespace(sync_bn='torch')),
        }[place]
    )
    groups = [dict(params=list(model.parameters()))]
    wrapper = SimpleNamespace(param_groups=groups)
    extend_to_switch_norms(SimpleNamespace(hooks=[], optim_wrapper=wrapper, **given), model)
    assert all(layer.sync for layer in layers_of(model))
