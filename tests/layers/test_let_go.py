"""Rows of ratios that start at a vertex are let go, and learn."""

import copy

import pytest
import torch
from torch import nn

import ssn_mm
from ssn_mm import convert_norms, let_go


def test_a_layer_lets_go_and_learns_another_normalizer():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 1, 1))
    target = copy.deepcopy(model)
    target[1] = nn.InstanceNorm2d(4, affine=True)
    convert_norms(model)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    steps, losses = 120, None
    for step in range(steps):
        x = torch.randn(4, 1, 6, 6) * torch.rand(4, 1, 1, 1) * 4
        loss = lambda x=x: nn.functional.mse_loss(model(x), target(x).detach())  # noqa: E731
        ssn_mm.set_radius(model, step / (steps - 1))
        if step == 10:
            assert model[1].selected == ('BN', 'BN')
            losses = let_go(model, 0.6, loss)
            assert model[1].ratios()[0].tolist() == pytest.approx([0.2, 0.2, 0.6])
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        ssn_mm.keep_selected(model)
    assert model[1].selected == ('IN', 'IN')
    assert losses[0] != losses[1]


def test_letting_go_survives_keep_selected_and_copies():
    model = convert_norms(nn.Sequential(nn.BatchNorm2d(4)))
    ssn_mm.set_radius(model, 0.1)
    let_go(model, 0.9)
    ssn_mm.keep_selected(model)
    assert copy.deepcopy(model)[0].ratios()[0, 2].item() == pytest.approx(0.9)


@pytest.mark.parametrize('to', ['SSN', 'SN'])
def test_letting_go_is_refused_where_nothing_can_move(to):
    layer = convert_norms(nn.BatchNorm2d(4), to)
    for ratio in (0, 1, 1.5, 'most'):
        with pytest.raises(ValueError, match=f'ratio must lie inside .* got {ratio!r}'):
            let_go(layer, ratio)
    let_go(layer)
    with pytest.raises(ValueError, match='no SSN or SN whose logits are trained has a row'):
        let_go(layer)
    late = convert_norms(nn.BatchNorm2d(4))
    ssn_mm.set_radius(late, 1.0)
    with pytest.raises(ValueError, match=r'radius 1, which makes ratios of 0\.9 one-hot'):
        let_go(late)


def test_layers_whose_logits_are_not_trained_stay():
    model = convert_norms(nn.Sequential(nn.BatchNorm2d(4), nn.BatchNorm2d(4)))
    model[0].requires_grad_(False)
    let_go(model)
    assert [layer.selected for layer in model] == [('BN', 'BN'), (None, None)]
    with pytest.raises(ValueError, match='no SSN or SN whose logits are trained'):
        let_go(model[0])
