"""A network that is trained again from its first weights takes a selection and nothing else."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ssn_mm import SSN, set_radius
from ssn_mm.engine.hooks.retrain_hook import RetrainHook
from ssn_mm.layers import check_selected

VERTICES = torch.eye(3)


def network(selections=()):
    layers = nn.Sequential(*(m for _ in range(6) for m in (nn.Conv2d(4, 4, 1), SSN(4))))
    for layer, (mean, var) in zip(layers[1::2], selections, strict=bool(selections)):
        layer.ratio_logits.data.copy_(VERTICES[[mean, var]])
    if selections:
        set_radius(layers, 1.0)
    return layers


TRAINED = [(0, 1), (2, 2), (1, 1), (0, 0), (2, 1), (1, 2)]


def load(hook, model, trained, resume=False):
    """What mmengine's runner does with load_from."""
    checkpoint = dict(state_dict=trained.state_dict())
    hook.after_load_checkpoint(SimpleNamespace(_resume=resume, seed=3), checkpoint)
    return model.load_state_dict(checkpoint['state_dict'], strict=False)


def selected(model):
    return [tuple(layer.ratio_logits.argmax(-1).tolist()) for layer in model[1::2]]


def test_the_selection_is_taken_and_no_weight():
    model = network()
    before = [conv.weight.clone() for conv in model[::2]]
    assert not load(RetrainHook(), model, network(TRAINED)).unexpected_keys
    assert selected(model) == TRAINED
    check_selected(model)  # as SSNRadiusHook(selection='fix') does
    assert all(torch.equal(own, conv.weight) for own, conv in zip(before, model[::2], strict=True))


def test_a_shuffled_selection_is_as_often_there_and_elsewhere():
    shuffled = []
    for _ in range(2):
        model = network()
        load(RetrainHook(shuffled=True), model, network(TRAINED))
        shuffled.append(selected(model))
    assert shuffled[0] == shuffled[1] != TRAINED
    assert sorted(shuffled[0]) == sorted(TRAINED)


def test_a_resumed_training_goes_on_with_its_own_weights():
    model, trained = network(), network(TRAINED)
    load(RetrainHook(), model, trained, resume=True)
    assert torch.equal(model[0].weight, trained[0].weight)


def test_a_checkpoint_that_has_not_selected_is_refused():
    with pytest.raises(ValueError, match=r'6 layers of load_from have not selected, 1\.ratio'):
        load(RetrainHook(), network(), network())
    with pytest.raises(ValueError, match='load_from has no SSN layers'):
        load(RetrainHook(), network(), nn.Sequential(nn.Conv2d(4, 4, 1)))
