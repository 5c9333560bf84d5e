"""Mixed precision in mmengine's Runner, and the steps that its gradient scaler skips."""

import pytest
import torch
from mmengine.registry import OPTIM_WRAPPERS
from small_net import Net
from torch import nn
from trainings import SGD, assert_stays_selected, last_checkpoint, train

from ssn_mm.ops import sparsestmax

ADAM = dict(type='AdamW', lr=0.05)
SPOILED = (2, 5, 6, 9, 11)  # at 11 the radius passes r_c


class SpoiledNet(Net):
    """Its gradients are inf in some iterations."""

    iteration = 0

    def forward(self, inputs, labels, mode='tensor'):
        outputs = super().forward(inputs, labels, mode)
        if mode == 'loss':
            if self.iteration in SPOILED:
                outputs['loss'].register_hook(lambda gradient: gradient * float('inf'))
            self.iteration += 1
        return outputs


def in_half(folder, **kwargs):
    return train(folder, SpoiledNet, type='CPUAmpOptimWrapper', dtype='float16', **kwargs)


def restored(logits, radius):
    """Logits that no step moved: rows that the radius makes one-hot are at their vertex."""
    ratios = sparsestmax(logits, radius)
    return ratios.where((ratios == 1).any(-1, keepdim=True), logits)


@pytest.mark.parametrize(
    ('optimizer', 'wrapper'),
    [
        (SGD, dict(loss_scale=128.0)),
        (SGD, dict(loss_scale=dict(init_scale=1024.0), clip_grad=dict(max_norm=1.0))),
        (ADAM, dict(loss_scale=dict(init_scale=1024.0))),
        (dict(ADAM, fused=True), dict(loss_scale=dict(init_scale=1024.0))),
    ],
    ids=str,
)
def test_a_skipped_step_moves_neither_logits_nor_momentum_and_the_radius_goes_on(
    tmp_path, optimizer, wrapper
):
    _, watch = in_half(tmp_path, iters=14, optimizer=optimizer, **wrapper)
    assert watch.radii == pytest.approx([i / 13 for i in range(14)], abs=1e-6)
    assert_stays_selected(watch.selected)
    for i in range(1, 14):
        before, after = watch.states[i - 1], watch.states[i]
        moved = {k for k in before if not torch.equal(before[k], after[k])}
        moved -= {k for k in before if 'running' in k or 'batches' in k or 'radius' in k}
        if i not in SPOILED:
            assert {'conv.weight', 'fc.weight'} < moved
            continue
        assert all('ratio_logits' in name for name in moved)
        assert all(map(torch.equal, watch.moments[i - 1], watch.moments[i]))
        for name in ('norm.ratio_logits', 'second.ratio_logits'):
            assert torch.equal(after[name], restored(before[name], watch.radii[i]))
    assert watch.selected[11] != watch.selected[10]  # selected by the radius in a skipped step


def test_the_loss_scale_is_saved_and_resumed(tmp_path, monkeypatch):
    options = dict(loss_scale=dict(init_scale=1024.0, growth_interval=4), iters=14)
    whole, _ = in_half(tmp_path / 'whole', **options)
    in_half(tmp_path / 'parts', stop=8, **options)
    scaler = last_checkpoint(tmp_path / 'parts')['optimizer']['loss_scaler']
    assert (scaler['scale'], scaler['_growth_tracker']) == (1024.0 / 8, 1)
    monkeypatch.setattr(SpoiledNet, 'iteration', 8)
    resumed, _ = in_half(tmp_path / 'parts', resume=True, **options)
    assert resumed.optim_wrapper.state_dict()['loss_scaler']['scale'] == 1024.0 / 32
    for key, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[key], value), key


def wrapper(**options):
    parameters = [nn.Parameter(torch.ones(2))]
    optimizer = torch.optim.SGD(parameters, 0.1)
    return OPTIM_WRAPPERS.build(dict(type='CPUAmpOptimWrapper', optimizer=optimizer, **options))


@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
def test_the_wrapper_casts_what_runs_in_it_and_nothing_else(dtype):
    layer, x = nn.Linear(2, 2), torch.randn(3, 2)
    with wrapper(dtype=dtype).optim_context(layer):
        assert layer(x).dtype is getattr(torch, dtype)
    assert layer(x).dtype is torch.float32


def test_a_dtype_or_scale_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"must be one of .*'float16'.*, got 'float8'"):
        wrapper(dtype='float8')
    with pytest.raises(TypeError, match="a float or a dict, got 'static'"):
        wrapper(loss_scale='static')
