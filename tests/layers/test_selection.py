"""What a layer remembers of its selection holds for the tensor it was learned from alone."""

import copy
import pickle

import pytest
import torch
from torch import nn

from ssn_mm import SSN, keep_selected, set_radius
from ssn_mm.layers import switch_norm

CENTRE = torch.ones(2, 3)
X = torch.randn(4, 6, 5, 5, generator=torch.Generator().manual_seed(0))


def vertices(*names, of=('IN', 'LN', 'BN')):
    return torch.eye(len(of))[[of.index(name) for name in names]]


def selected(*names):
    """A layer that has selected, has trained, and remembers it."""
    layer = SSN(6)
    with torch.no_grad():
        layer.ratio_logits.copy_(vertices(*names))
    keep_selected(layer)
    layer(X).sum().backward()
    keep_selected(layer)
    return layer


def expected(logits):
    layer = SSN(6)
    with torch.no_grad():
        layer.ratio_logits.copy_(logits)
    return layer(X)


def by_hand(layer, logits):
    with torch.no_grad():
        layer.ratio_logits.copy_(logits)
    return layer


def through_data(layer, logits):
    layer.ratio_logits.data.copy_(logits)
    return layer


def with_other_data(layer, logits):
    layer.ratio_logits.data = logits.clone()
    return layer


def replaced(layer, logits):
    layer.ratio_logits = nn.Parameter(logits.clone())
    return layer


def copied(layer, logits):
    return through_data(copy.deepcopy(layer), logits)


def pickled(layer, logits):
    return through_data(pickle.loads(pickle.dumps(layer)), logits)


def assigned(layer, logits):
    layer.load_state_dict(layer.state_dict() | {'ratio_logits': logits.clone()}, assign=True)
    return layer


def swapped(layer, logits):
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        layer.to(torch.float64).to(torch.float32)
        layer.load_state_dict(layer.state_dict() | {'ratio_logits': logits.clone()})
    finally:
        torch.__future__.set_swap_module_params_on_conversion(False)
    return layer


CHANGES = [
    by_hand,
    through_data,
    with_other_data,
    replaced,
    copied,
    pickled,
    assigned,
    swapped,
]


@pytest.mark.parametrize('logits', [CENTRE, vertices('BN', 'IN'), vertices('LN', 'LN') * 1.5])
@pytest.mark.parametrize('change', CHANGES)
def test_logits_that_were_changed_are_those_that_train_and_that_are_kept(change, logits):
    layer = change(selected('IN', 'IN'), logits)
    torch.testing.assert_close(layer(X), expected(logits))
    keep_selected(layer)
    torch.testing.assert_close(layer.ratio_logits, SSN.ratios(layer) if 1.5 in logits else logits)


@pytest.mark.parametrize('change', CHANGES)
def test_keeping_does_not_undo_what_was_written_before_the_next_step(change):
    for logits in (CENTRE, vertices('BN', 'IN')):
        layer = change(selected('IN', 'IN'), logits)
        keep_selected(layer)
        assert torch.equal(layer.ratio_logits, logits)


@pytest.mark.parametrize('change', [c for c in CHANGES if c is not through_data])
def test_where_a_look_would_stall_nothing_but_a_write_through_data_goes_unseen(change, monkeypatch):
    monkeypatch.setattr(switch_norm, 'is_traced', lambda t: True)  # as if not on a CPU
    monkeypatch.setattr(switch_norm, 'is_transformed', lambda: False)
    layer = selected('IN', 'IN')
    assert layer.selection.known(layer.ratio_logits) == ('IN', 'IN')
    layer = change(layer, CENTRE)
    torch.testing.assert_close(layer(X), expected(CENTRE))


def test_a_functional_call_with_other_logits_uses_them_and_leaves_no_trace():
    layer = selected('IN', 'IN')
    for logits in (CENTRE, vertices('BN', 'LN')):
        for given in (logits, nn.Parameter(logits)):
            y = torch.func.functional_call(layer, {'ratio_logits': given}, X)
            torch.testing.assert_close(y, expected(logits))
    keep_selected(layer)
    assert layer.selected == ('IN', 'IN')


@pytest.mark.parametrize('ran', [True, False])
def test_a_selected_layer_keeps_its_selection_whether_it_ran_or_not(ran):
    layer = selected('IN', 'BN')
    set_radius(layer, 0)
    step = torch.optim.SGD([layer.ratio_logits], lr=0.1, weight_decay=0.1, momentum=0.9)
    for _ in range(5):
        layer.ratio_logits.grad = torch.randn(2, 3) / 10
        if ran:
            layer(X)
        step.step()
        assert not torch.equal(layer.ratio_logits, vertices('IN', 'BN'))
        keep_selected(layer)
        assert torch.equal(layer.ratio_logits, vertices('IN', 'BN'))


def test_a_row_that_the_first_of_several_steps_had_selected_is_kept_unless_set_by_hand():
    layer = selected('IN', 'BN')
    set_radius(layer, 0)
    step = torch.optim.SGD([layer.ratio_logits], lr=0.1, weight_decay=0.1, momentum=0.9)
    for _ in range(3):  # two losses, closures of L-BFGS, gradients of a validation
        layer(X)
        layer.ratio_logits.grad = torch.tensor([[0.2, -0.2, -0.3], [0.3, -0.2, 0.1]])
        step.step()
    assert layer.selected == (None, None)
    saved = layer.state_dict()
    keep_selected(layer)
    assert layer.selected == ('IN', 'BN')
    assert torch.equal(saved['ratio_logits'], vertices('IN', 'BN'))
    layer(X)
    by_hand(layer, CENTRE)
    layer(X)
    keep_selected(layer)
    assert torch.equal(layer.ratio_logits, CENTRE)


def test_a_model_that_was_moved_is_kept_with_what_it_was_trained_with():
    layer = selected('IN', 'BN')
    layer(X)
    layer.to(torch.float64)
    with torch.no_grad():
        layer.ratio_logits.mul_(0.9)
    set_radius(layer, 0)
    keep_selected(layer)
    assert layer.selected == ('IN', 'BN')


def test_replicas_of_a_network_use_their_own_logits():
    layer = selected('IN', 'IN')
    replica = layer._replicate_for_data_parallel()  # shares what is no tensor
    replica.weight, replica.bias = layer.weight, layer.bias
    replica.ratio_logits = vertices('BN', 'BN')
    torch.testing.assert_close(replica(X), expected(vertices('BN', 'BN')))
    keep_selected(layer)
    assert layer.selected == ('IN', 'IN')
