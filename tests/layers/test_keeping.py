"""Radii and selected rows of all layers in one call of a kernel: as PyTorch's operators do it."""

import copy

import pytest
import torch
from torch import nn

from ssn_mm import SSN, keep_selected, set_backend, set_radius
from ssn_mm.layers import driving, keeping

FOUR = ('IN', 'LN', 'BN', 'GN')


@pytest.fixture
def left(monkeypatch):
    """The layers that each call has left to PyTorch's operators."""
    found = []

    def keep(layers):
        found.append(keeping.keep_after_step(layers))
        return found[-1]

    monkeypatch.setattr(driving, 'keep_after_step', keep)
    yield found
    set_backend(None)


def network(dtype=torch.float32):
    """Four layers of two sizes: one has selected, one for its mean, one is about to."""
    layers = [SSN(6), SSN(6, normalizers=FOUR, num_groups=2), SSN(6), SSN(6)]
    model = nn.Sequential(*layers).to(dtype)
    with torch.no_grad():
        model[0].ratio_logits.copy_(torch.eye(3)[[2, 0]])
        model[1].ratio_logits.copy_(torch.tensor([[0.0, 1, 0, 0], [1.0, 1.1, 0.9, 1.2]]))
        model[2].ratio_logits.copy_(torch.tensor([[1.0, 1.2, 0.9], [1.1, 1.0, 1.3]]))
        model[3].ratio_logits.copy_(torch.tensor([[-0.1, 1.1, -0.2], [1.0, 1.5, 0.9]]))
    return model


def train(model, steps=6):
    """Momentum and decay move every row, selected ones too."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=0.1)
    generator = torch.Generator().manual_seed(0)
    for i in range(steps):
        set_radius(model, 0.9 * i / (steps - 1))
        optimizer.zero_grad()
        x = torch.randn(4, 6, 3, 3, generator=generator).to(model[0].weight)
        (model(x) * torch.randn(4, 6, 3, 3, generator=generator)).sum().backward()
        optimizer.step()
        keep_selected(model)
    return model


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_a_training_is_that_of_torchs_operators(left, dtype, monkeypatch):
    model = network(dtype)
    other = copy.deepcopy(model)
    train(model)
    assert left == [[]] * 6  # kernels took all
    assert all(None not in m.selected for m in model)
    left.clear()
    monkeypatch.setattr(keeping, 'kernels_for_all', lambda t: None)
    train(other)
    assert [len(layers) for layers in left] == [4] * 6
    for one, two in zip(model, other, strict=True):
        for name, tensor in one.state_dict().items():
            assert torch.equal(tensor, two.state_dict()[name]), name
        assert torch.equal(one.selection.kept[3], two.selection.kept[3])
        assert one.selection.names == two.selection.names


def test_only_rows_that_moved_are_written(left):
    model = network()
    set_radius(model, 0.1)
    model(torch.randn(4, 6, 3, 3))
    with torch.no_grad():
        model[0].ratio_logits.mul_(0.99)
        model[2].ratio_logits.mul_(0.99)
    versions = [m.ratio_logits._version for m in model]
    keep_selected(model)
    assert left == [[]]
    assert torch.equal(model[0].ratio_logits, torch.eye(3)[[2, 0]])
    written = [m.ratio_logits._version - v for m, v in zip(model, versions, strict=True)]
    # the first row of the last was beyond the vertex, which sparsemax has as one-hot
    assert written == [1, 0, 0, 1]


def test_radii_are_written_and_counted(left):
    model = network()
    versions = [m.radius._version for m in model]
    set_radius(model, 0.3)
    assert all(m.radius == torch.tensor(0.3) for m in model)
    assert [m.radius._version - v for m, v in zip(model, versions, strict=True)] == [1] * 4
    set_radius(model.half(), 0.3)
    assert all(m.radius.dtype == torch.half and m.radius >= 0.3 for m in model)


def no_step(model):
    model[3] = nn.ReLU()  # and one layer that does not run
    model.add_module('beside', SSN(6))
    model.forward = lambda x: model[2](model[1](model[0](x)))
    return [model.beside]


def halves(model):
    model[1].ratio_logits = nn.Parameter(model[1].ratio_logits.detach().half())
    return list(model)


def reference(model):
    set_backend('reference')
    return list(model)


@pytest.mark.parametrize('change', [no_step, halves, reference])
def test_what_kernels_do_not_take_is_left(left, change):
    model = network()
    expected = change(model)
    set_radius(model, 0.1)
    model(torch.randn(4, 6, 3, 3))
    with torch.no_grad():
        model[0].ratio_logits.mul_(0.99)
    keep_selected(model)
    assert {id(m) for m in left[0]} == {id(m) for m in expected}
    assert torch.equal(model[0].ratio_logits, torch.eye(3)[[2, 0]])


def test_replaced_layers_and_logits_are_found(left):
    model = network()
    for replace in (lambda: None, lambda: setattr(model, '1', SSN(6))):
        replace()
        set_radius(model, 0.9)
        model(torch.randn(4, 6, 3, 3))
        keep_selected(model)
        assert all(m.radius == torch.tensor(0.9) and None not in m.selected for m in model)
    assert left == [[], []]
    model(torch.randn(4, 6, 3, 3))
    model[2].ratio_logits = nn.Parameter(torch.tensor([[0.2, 0.9, 0.1], [0.2, 0.1, 0.9]]))
    keep_selected(model)
    assert left[-1] == [model[2]]
    assert model[2].ratio_logits.tolist() == [[0, 1, 0], [0, 0, 1]]


def test_a_radius_that_is_none_is_refused(left):
    model = network()
    model(torch.randn(4, 6, 3, 3))
    model[0].radius.fill_(float('nan'))
    with torch.no_grad():
        model[0].ratio_logits.mul_(0.99)
    before = [m.ratio_logits.clone() for m in model]
    with pytest.raises(ValueError, match='radius must be a number >= 0, got'):
        keep_selected(model)
    for layer, logits in zip(model, before, strict=True):
        assert torch.equal(layer.ratio_logits, logits)
