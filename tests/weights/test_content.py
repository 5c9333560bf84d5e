"""A checkpoint is split into weights and meta, and weights are loaded strictly."""

import pytest
import torch
from torch import nn

from ssn_mm.weights.content import load_strictly, state_and_meta

STATE = nn.Linear(2, 3).state_dict()


@pytest.mark.parametrize(
    ('content', 'meta'),
    [
        (STATE, {}),
        (dict(state_dict=STATE, meta=dict(iter=4)), dict(iter=4)),
        (dict(model=STATE, epoch=3), {}),
        (dict(state_dict=STATE, meta=None), {}),
    ],
    ids=['bare', 'OpenMMLab', 'others', 'no meta'],
)
def test_weights_and_meta_are_found_however_they_are_written(content, meta):
    state, found = state_and_meta(content, 'w.pth')
    assert state is STATE
    assert found == meta


@pytest.mark.parametrize('content', [[1], torch.zeros(2), {}, dict(state_dict={}), dict(a=1)])
def test_what_holds_no_weights_is_refused_with_its_source(content):
    with pytest.raises(ValueError, match=r'^w\.pth holds no weights by name, but a '):
        state_and_meta(content, 'w.pth')


def test_strict_loading_takes_off_a_wrappers_prefix_and_names_what_is_of_another_network():
    model = nn.Linear(2, 3)
    load_strictly(model, {f'module.{key}': value for key, value in STATE.items()}, 'w.pth')
    assert torch.equal(model.weight, STATE['weight'])
    assert list(STATE) == ['weight', 'bias']  # what was given stays as it is
    with pytest.raises(ValueError, match=r'(?s)^w\.pth is of another network: .*bias'):
        load_strictly(model, dict(weight=STATE['weight']), 'w.pth')
