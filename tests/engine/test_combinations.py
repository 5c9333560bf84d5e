"""What trainings combine with SSN, while its rows select."""

import mmaction.models
import mmpretrain.models
import mmseg.models
import pytest
import torch
from mmengine.hooks import EMAHook, Hook
from small_net import Net
from trainings import assert_stays_selected, last_checkpoint, train

from ssn_mm import keep_selected, set_radius
from ssn_mm.engine.hooks import SSNRadiusHook
from ssn_mm.layers import ssn_layers, switch_norms


def selected(model):
    return [name for _, layer in ssn_layers(model) for name in layer.selected]


def assert_same_state(one, other):
    assert one.keys() == other.keys()
    for key, value in one.items():
        assert torch.equal(other[key], value), key


class WatchCopy(Hook):
    """Notes what an averaged copy evaluates to, each iteration and as validation sees it."""

    priority = 'LOWEST'

    def __init__(self, ema):
        self.ema, self.pairs, self.validated = ema, [], []

    def after_train_iter(self, runner, *_, **__):
        self.pairs.append((selected(runner.model), selected(self.ema.ema_model.module)))

    def after_val_iter(self, runner, *_, **__):
        self.validated.append((self.pairs[-1][0], selected(runner.model)))

    def check(self):
        assert self.validated
        assert any(None in source and set(source) != {None} for source, _ in self.pairs)
        for source, copy in (*self.pairs, *self.validated):
            for own, averaged in zip(source, copy, strict=True):
                assert own is None or averaged == own


AVERAGES = [
    dict(momentum=0.01),
    dict(momentum=0.01, update_buffers=True),
    dict(momentum=0.3, interval=3, update_buffers=True),
    dict(momentum=0.1, begin_iter=6),
    dict(ema_type='StochasticWeightAverage'),
]


@pytest.mark.parametrize('average', AVERAGES, ids=str)
def test_an_averaged_copy_evaluates_to_a_one_hot_wherever_its_source_does(tmp_path, average):
    ema = EMAHook(**average)
    watch = WatchCopy(ema)
    train(tmp_path, staggered, hooks=[ema, watch], iters=16)
    watch.check()
    averaged = Net()
    averaged.load_state_dict(last_checkpoint(tmp_path)['state_dict'])
    assert selected(averaged.eval()) == watch.pairs[-1][0]


def staggered(**options):
    """A network whose rows select at different radii."""
    model = Net(**options)
    count = len(model.norm.normalizers)
    with torch.no_grad():
        model.norm.ratio_logits[0].copy_(torch.eye(count)[1])  # has selected
        model.norm.ratio_logits[1].copy_(torch.linspace(0.2, 1, count))
        model.second.ratio_logits[0].copy_(torch.linspace(1, -0.5, count))
    return model


@pytest.mark.parametrize(
    ('stop', 'update_buffers', 'recompute'), [(7, True, 'not'), (10, False, 'reentrant')]
)
def test_averaging_accumulation_and_recomputation_together_resume_exactly(
    tmp_path, stop, update_buffers, recompute
):
    def run(folder, with_cp=recompute, **kwargs):
        ema = EMAHook(momentum=0.1, update_buffers=update_buffers)
        copies = WatchCopy(ema)
        _, watch = train(
            tmp_path / folder, lambda: staggered(with_cp=with_cp), hooks=[ema, copies], iters=16,
            accumulative_counts=3, **kwargs,
        )  # fmt: skip
        return watch, copies

    whole, copies = run('whole')
    copies.check()
    assert_stays_selected(whole.selected)
    run('parts', stop=stop)
    resumed, copies = run('parts', resume=True)
    assert resumed.selected == whole.selected[stop:]
    assert all(copy == source for source, copy in copies.validated[-1:])
    run('plain', with_cp=None)
    for key in ('state_dict', 'ema_state_dict'):
        reference = last_checkpoint(tmp_path / 'whole')[key]
        assert_same_state(reference, last_checkpoint(tmp_path / 'parts')[key])
        assert_same_state(reference, last_checkpoint(tmp_path / 'plain')[key])


BACKBONES = {
    'mmpretrain': (mmpretrain.models.ResNet, dict(stem_channels=8), (4, 3, 32, 32)),
    'mmseg': (mmseg.models.ResNet, dict(stem_channels=8), (4, 3, 32, 32)),
    'i3d': (mmaction.models.ResNet3d, dict(pretrained=None, pretrained2d=False), (2, 3, 4, 32, 32)),
}


def select_through_training(name, iters=6, **options):
    """Trains a library's ResNet until all rows have selected; returns it and its selections."""
    kind, own, shape = BACKBONES[name]
    torch.manual_seed(0)
    model = kind(depth=18, base_channels=8, norm_cfg=dict(type='SSN'), **own, **options)
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    selections = []
    for i in range(iters):
        model.train()
        set_radius(model, i / (iters - 1))
        y = model(torch.randn(shape))
        (y[-1] if isinstance(y, tuple) else y).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        keep_selected(model)
        selections.append(selected(model))
    assert_stays_selected(selections)
    return model, selections


@pytest.mark.parametrize(
    ('name', 'norm_eval'), [*((name, False) for name in BACKBONES), ('mmpretrain', True)]
)
def test_a_librarys_network_with_recomputation_trains_to_the_last_bit_as_without(name, norm_eval):
    plain, selections = select_through_training(name, norm_eval=norm_eval)
    model, recomputed = select_through_training(name, norm_eval=norm_eval, with_cp=True)
    assert recomputed == selections
    assert_same_state(plain.state_dict(), model.state_dict())
    counts = {int(layer.num_batches_tracked) for _, layer in switch_norms(model)}
    assert counts == ({0} if norm_eval else {6})


def by_steps(steps, counts):
    """A radius that is the same in all iterations of a step."""
    return lambda progress: round(progress * (steps * counts - 1)) // counts / (steps - 1)


def without_batch_statistics():
    return staggered(normalizers=('IN', 'LN'))


@pytest.mark.parametrize('counts', [2, 4])
def test_accumulated_small_batches_train_as_the_large_batch(tmp_path, counts):
    steps = 8
    _, large = train(
        tmp_path / 'large', without_batch_statistics, iters=steps, batch=4 * counts,
        radius=SSNRadiusHook(by_steps(steps, 1)),
    )  # fmt: skip
    _, small = train(
        tmp_path / 'small', without_batch_statistics, iters=steps * counts,
        radius=SSNRadiusHook(by_steps(steps, counts)), accumulative_counts=counts,
    )  # fmt: skip
    assert small.selected[counts - 1 :: counts] == large.selected
    last, expected = small.states[-1], large.states[-1]
    for key in (k for k in expected if 'batches' not in k and 'running' not in k):
        torch.testing.assert_close(last[key], expected[key], rtol=1e-4, atol=1e-5, msg=key)


@pytest.mark.parametrize('counts', [2, 3])
def test_nothing_is_selected_by_a_half_accumulated_gradient(tmp_path, counts):
    _, watch = train(tmp_path, staggered, iters=18, accumulative_counts=counts)
    assert_stays_selected(watch.selected)
    moved = 0
    for i in range(1, 18):
        steps = (i + 1) % counts == 0 or i == 17
        for name in ('norm', 'second'):
            before, after = (watch.states[j][f'{name}.ratio_logits'] for j in (i - 1, i))
            one_hot = (after == 1).any(-1) & ((after == 0).sum(-1) == 2)
            place = 2 * (name == 'second')
            are_selected = [name is not None for name in watch.selected[i][place : place + 2]]
            assert one_hot.tolist() == are_selected  # restored in each iteration
            if steps:
                moved += not torch.equal(before[~one_hot], after[~one_hot])
            else:
                assert torch.equal(before[~one_hot], after[~one_hot])
                assert torch.equal(before.argmax(-1), after.argmax(-1))
    assert moved


def test_frozen_stages_that_have_selected_stay_as_they_are_while_the_others_select():
    model, _ = select_through_training('mmpretrain')
    before = {k: v.clone() for k, v in model.state_dict().items()}
    layers = dict(ssn_layers(model))
    free = {name for name in layers if name.startswith(('layer3', 'layer4'))}
    with torch.no_grad():
        for name in free:
            layers[name].ratio_logits.fill_(1)
    model.frozen_stages = 2
    model.train()
    assert {n for n, m in layers.items() if m.ratio_logits.requires_grad} == free
    # an optimizer with everything in it, momentum and decay
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=0.1)
    for i in range(4):
        set_radius(model, i / 3)
        model(torch.randn(4, 3, 32, 32))[-1].square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        keep_selected(model)
    assert None not in selected(model)
    for key, value in model.state_dict().items():
        same = torch.equal(value, before[key])
        if not key.startswith(('layer3', 'layer4')):
            assert same or key.endswith('radius'), key
    assert not torch.equal(model.layer4[0].conv1.weight, before['layer4.0.conv1.weight'])


@pytest.mark.parametrize(
    'constructor', ['SSNOptimWrapperConstructor', 'DefaultOptimWrapperConstructor']
)
def test_fixed_selections_stay_under_momentum_and_decay(tmp_path, constructor):
    _, first = train(tmp_path / 'first', staggered)

    def trained():
        model = Net()
        model.load_state_dict(first.states[-1])
        return model

    decay = dict(type='SGD', lr=0.3, momentum=0.9, weight_decay=0.3)
    _, watch = train(
        tmp_path / 'second', trained, radius=SSNRadiusHook(selection='fix'),
        optimizer=decay, constructor=constructor,
    )  # fmt: skip
    assert watch.selected == [first.selected[-1]] * 12
    for state in watch.states:
        for name in ('norm.ratio_logits', 'second.ratio_logits'):
            assert torch.equal(state[name], first.states[-1][name])
