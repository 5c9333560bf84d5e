"""Where an inf or NaN began, in mmengine's Runner."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.structures import BaseDataElement
from torch import nn
from trainings import Pictures, train

from ssn_mm.engine.hooks import FiniteCheckHook


class Spoil(Hook):
    """Spoils something before the third iteration."""

    def __init__(self, how):
        self.how = how

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 2:
            self.how(runner, data_batch)


def batch(runner, data):
    data[0][1, 2, 3, 4] = float('nan')


@torch.no_grad()
def parameter(runner, _):
    runner.model.second.weight[3] = float('inf')


def running_statistics(runner, _):
    runner.model.norm.eval()
    runner.model.norm.running_var[0] = float('nan')


def between_modules(runner, _):
    own = runner.model.body
    runner.model.body = lambda x: own(x / 0)


def gradient(runner, _):
    runner.model.fc.weight.register_hook(lambda gradient: gradient * float('inf'))


FAULTS = [
    (
        batch,
        r'iteration 3: the batch\[0\] has 1 NaN and 0 inf among 432 values of shape '
        r'\(4, 3, 6, 6\), the first at \(1, 2, 3, 4\), in sample 1$',
    ),
    (parameter, r'iteration 3: output of second \(SSN\) has .*; its weight is not finite either$'),
    (running_statistics, r'output of norm \(SSN\) has .*; its running_var is not finite either$'),
    (between_modules, r'input\[0\] of norm \(SSN\) has \d+ NaN and \d+ inf among 256 values'),
    (gradient, r'iteration 3: the gradient of fc\.weight has 0 NaN and 8 inf among 8 values'),
]


@pytest.mark.parametrize(('fault', 'message'), FAULTS)
def test_a_training_stops_at_the_first_inf_or_nan_with_its_name(tmp_path, fault, message):
    with pytest.raises(ValueError, match=message):
        train(tmp_path, hooks=[FiniteCheckHook(), Spoil(fault)])


def test_a_sound_training_goes_through_it_unchanged_and_it_leaves_nothing_behind(tmp_path):
    runner, watch = train(tmp_path / 'with', hooks=[FiniteCheckHook()])
    _, plain = train(tmp_path / 'without')
    assert watch.losses == plain.losses
    for module in runner.model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    assert not any(p._post_accumulate_grad_hooks for p in runner.model.parameters())


class Masked(nn.Module):
    """Attention's way: scores of -inf before a softmax, which then is 0 there."""

    def __init__(self, spoil=False):
        super().__init__()
        self.hide, self.softmax, self.spoil = nn.Identity(), nn.Softmax(1), spoil

    def forward(self, maps):
        hidden = torch.zeros(maps.shape[1]).index_fill(0, torch.tensor(0), float('-inf'))
        scores = self.hide(maps + hidden[:, None, None])
        return self.softmax(scores * 0 if self.spoil else scores)


def test_masks_of_minus_infinity_stop_nothing_until_they_become_nan():
    network = nn.Sequential(nn.Identity(), Masked())
    hook = FiniteCheckHook()
    hook.before_train(SimpleNamespace(iter=0, model=network, optim_wrapper=None))
    assert network(torch.ones(2, 3, 4, 4))[:, 0].eq(0).all()
    network[1].spoil = True
    message = r'input\[0\] of 1\.softmax .* 32 NaN .*; -inf was first in input\[0\] of 1\.hide'
    with pytest.raises(ValueError, match=message):
        network(torch.ones(2, 3, 4, 4))


def test_a_loss_of_minus_infinity_is_none():
    network = nn.Sequential(nn.Identity())
    FiniteCheckHook().before_train(SimpleNamespace(iter=0, model=network, optim_wrapper=None))
    with pytest.raises(ValueError, match=r'output of the network .* 0 NaN and 1 inf'):
        network(torch.tensor([float('-inf')]))


def test_without_it_the_same_faults_do_not_stop_a_training(tmp_path):
    """So the tests above are able to fail."""
    for fault, _ in FAULTS:
        _, watch = train(tmp_path / fault.__name__, hooks=[Spoil(fault)], iters=4)
        assert len(watch.losses) == 4


@pytest.mark.parametrize(('dtype', 'reported'), [('float16', False), ('bfloat16', True)])
def test_inf_gradients_that_a_scaler_looks_after_are_not_reported(tmp_path, dtype, reported):
    def run():
        hooks = [FiniteCheckHook(), Spoil(gradient)]
        return train(tmp_path, hooks=hooks, iters=4, type='CPUAmpOptimWrapper', dtype=dtype)

    if reported:
        with pytest.raises(ValueError, match=r'the gradient of fc\.weight'):
            run()
    else:
        runner, _ = run()
        assert runner.optim_wrapper.loss_scaler.get_scale() < 2.0**16


class Sample(BaseDataElement):
    """A picture's sample, as the libraries collate them in lists."""


class Listed(Pictures):
    def __getitem__(self, index):
        sample = Sample(metainfo=dict(img_path=f'picture{index}.png'))
        picture, sample.label = super().__getitem__(index)[0], torch.tensor(index % 2)
        if index == 6:
            picture[0, 0, 0] = float('inf')
        return dict(inputs=picture, data_samples=sample)


INF = torch.tensor(float('inf'))
MAP = torch.zeros(2, 3, 4, 4)


@pytest.mark.parametrize(
    ('batch', 'message'),
    [
        (dict(inputs=dict(rgb=[MAP, MAP + INF])), r"\['inputs'\]\['rgb'\]\[1\] .*, in sample 1$"),
        (dict(inputs=dict(rgb=torch.stack([MAP, MAP + INF]))), r"\['rgb'\] has .*, in sample 1$"),
        (dict(inputs=[MAP], scale=INF), r"the batch\['scale'\] has .*, the first at \(\)$"),
        (dict(inputs=[MAP, MAP], scales=[INF - INF, INF]), r"\['scales'\]\[0\] .*, in sample 0$"),
        (INF, r'the batch has .*, the first at \(\)$'),
        ([MAP, INF], r'the batch\[1\] has .*, the first at \(\)$'),
        (dict(inputs=[MAP, MAP, MAP + INF], data_samples=[None]), r'in sample 2$'),
    ],
)
def test_a_batch_of_any_form_is_reported(batch, message):
    hook = FiniteCheckHook()
    hook.runner, hook.handles = type('Runner', (), dict(iter=0)), []
    with pytest.raises(ValueError, match=message):
        hook.before_train_iter(hook.runner, 0, batch)


def test_the_file_of_a_broken_sample_is_named():
    samples = [Listed()[index] for index in range(4, 8)]
    collated = {key: [sample[key] for sample in samples] for key in samples[0]}
    hook = FiniteCheckHook()
    hook.runner, hook.handles = type('Runner', (), dict(iter=0)), []
    message = r"the batch\['inputs'\]\[2\] has 0 NaN and 1 inf .*, in sample 2 \(picture6\.png\)$"
    with pytest.raises(ValueError, match=message):
        hook.before_train_iter(hook.runner, 0, collated)
