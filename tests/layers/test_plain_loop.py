"""README's loop, stopped and resumed by nothing but ``load_state_dict``."""

import copy

import pytest
import torch
from torch import nn

from ssn_mm import SSN, keep_selected, set_radius

STEPS = 16


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), SSN(8, ('IN', 'LN')), nn.ReLU(),
        nn.Conv2d(8, 8, 3), SSN(8), nn.ReLU(),
        nn.Conv2d(8, 8, 3), SSN(8, ('GN', 'BN', 'IN', 'LN'), num_groups=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2),
    )  # fmt: skip


def sgd(model):
    options = dict(lr=0.3, momentum=0.9, weight_decay=0.05)
    return torch.optim.SGD(model.parameters(), **options)


def adam(model):
    return torch.optim.AdamW(model.parameters(), lr=0.05, weight_decay=0.1)


def save(model, optimizer):
    return copy.deepcopy((model.state_dict(), optimizer.state_dict()))


def train(model, optimizer, first, radius_first, saved):
    """Trains from a step on; saves between the optimizer's step and keeping, and after."""
    for step in range(first, STEPS):
        generator = torch.Generator().manual_seed(step)
        x = torch.randn(4, 3, 9, 9, generator=generator)
        if radius_first:
            set_radius(model, step / (STEPS - 1))
        loss = nn.functional.cross_entropy(model(x), torch.tensor([0, 1, 0, 1]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        saved[step, 'before keeping'] = save(model, optimizer)
        keep_selected(model)
        if not radius_first:
            set_radius(model, min((step + 1) / (STEPS - 1), 1))
        saved[step, 'after keeping'] = save(model, optimizer)


@pytest.mark.parametrize('radius_first', [True, False])
@pytest.mark.parametrize('build', [sgd, adam])
def test_a_loop_resumed_by_its_states_alone_equals_the_uninterrupted_one(build, radius_first):
    whole, saved = net(), {}
    train(whole, build(whole), 0, radius_first, saved)
    assert not any(None in m.selected for m in whole.modules() if isinstance(m, SSN))
    selected = {m.selected for m in whole.modules() if isinstance(m, SSN)}
    assert any('BN' not in pair for pair in selected)
    for (step, moment), (state, optimizer_state) in list(saved.items()):
        if step % 3 and step != STEPS - 2:
            continue
        resumed = net()
        optimizer = build(resumed)
        resumed.load_state_dict(state)
        optimizer.load_state_dict(optimizer_state)
        if not radius_first and moment == 'before keeping':  # what the loop does before its next
            set_radius(resumed, min((step + 1) / (STEPS - 1), 1))
        train(resumed, optimizer, step + 1, radius_first, {})
        for key, value in whole.state_dict().items():
            assert torch.equal(resumed.state_dict()[key], value), (step, moment, key)


def test_a_state_saved_before_keeping_is_what_keeping_leaves_and_moves_nothing():
    model, optimizer = net(), None
    optimizer = sgd(model)
    set_radius(model, 0.85)
    model(torch.randn(4, 3, 9, 9)).square().sum().backward()
    unmoved = [m.ratio_logits.clone() for m in model.modules() if isinstance(m, SSN)]
    saved = {k: v for k, v in model.state_dict().items() if k.endswith('ratio_logits')}
    assert all(torch.equal(a, b) for a, b in zip(unmoved, saved.values(), strict=True))
    optimizer.step()
    moved = copy.deepcopy(list(model.parameters()))
    saved = {k: v for k, v in model.state_dict().items() if k.endswith('ratio_logits')}
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), moved, strict=True))
    keep_selected(model)
    for key, value in saved.items():
        assert torch.equal(model.state_dict()[key], value), key
    assert model[1].selected != (None, None)
