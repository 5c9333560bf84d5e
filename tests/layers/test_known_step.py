"""A training step like the one before skips checks, and is the same step."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ssn_mm import SSN, keep_selected, set_backend, set_radius
from ssn_mm.layers import known_step, switch_norm


@pytest.fixture
def repeated(monkeypatch):
    """Counts the steps that were repeated."""
    found = []

    def repeat(layer, x):
        y = known_step.repeat_step(layer, x)
        found.append(y is not None)
        return y

    monkeypatch.setattr(switch_norm, 'repeat_step', repeat)
    yield found
    set_backend(None)


def layer(**options):
    ssn = SSN(6, **options)
    set_radius(ssn, 0.3)
    with torch.no_grad():
        ssn.ratio_logits.add_(torch.linspace(-0.1, 0.1, 6).view(2, 3))
    return ssn


def step(ssn, shape=(2, 6, 4, 4), seed=0):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).requires_grad_()
    ssn.zero_grad()
    y = ssn(x)
    y.square().sum().backward()
    return [y.detach(), x.grad, *(p.grad for p in ssn.parameters()), *ssn.buffers()]


@pytest.mark.parametrize('options', [{}, dict(track_running_stats=False)])
def test_a_repeated_step_is_the_step(options, repeated):
    ssn, forgetful = layer(**options), layer(**options)
    for seed in range(3):
        forgetful.selection.step = None
        for own, wanted in zip(step(ssn, seed=seed), step(forgetful, seed=seed), strict=True):
            assert torch.equal(own, wanted)
    assert repeated == [False, False, True, False, True, False]


@pytest.mark.parametrize('names', [('BN', 'BN'), ('IN', 'BN'), ('LN', 'IN'), ('LN', 'LN')])
def test_a_repeated_step_of_what_was_selected_is_the_step(names, repeated):
    ssn, forgetful = layer(), layer()
    for one in (ssn, forgetful):
        one.ratio_logits.data.copy_(torch.eye(3)[[one.normalizers.index(name) for name in names]])
        keep_selected(one)
    for seed in range(3):
        forgetful.selection.step = None
        for own, wanted in zip(step(ssn, seed=seed), step(forgetful, seed=seed), strict=True):
            assert torch.equal(own, wanted)
        for one in (ssn, forgetful):
            with torch.no_grad():
                one.ratio_logits.mul_(0.9)  # an optimizer's work
            keep_selected(one)
            assert one.selected == names
    in_torch = names == ('LN', 'LN')  # whose group norm is the faster one
    assert repeated == [False, False, not in_torch, False, not in_torch, False]


@pytest.mark.parametrize('names', [('BN', 'BN'), ('IN', 'LN'), ('LN', 'IN')])
def test_what_was_selected_by_hand_is_computed_in_the_next_step(names, repeated):
    ssn, forgetful = layer(), layer()
    for one in (ssn, forgetful):
        step(one), step(one)
        one.ratio_logits.data.copy_(torch.eye(3)[[one.normalizers.index(name) for name in names]])
    forgetful.selection.step = None
    for own, wanted in zip(step(ssn), step(forgetful), strict=True):
        torch.testing.assert_close(own, wanted, rtol=1e-4, atol=1e-5)
    keep_selected(ssn)
    assert ssn.selection.step is None  # other kernels compute what is selected


@pytest.mark.parametrize('dtype', [torch.int64, torch.int32])
def test_batches_are_counted_in_their_own_type(dtype, repeated):
    ssn = layer()
    ssn.num_batches_tracked = ssn.num_batches_tracked.to(dtype)
    for _ in range(3):
        step(ssn)
    assert ssn.num_batches_tracked == torch.tensor(3, dtype=dtype)
    assert repeated[-1]


def change_eps(ssn):
    ssn.eps = 0.5


def change_momentum(ssn):
    ssn.momentum = None


def evaluate(ssn):
    ssn.eval()(torch.randn(2, 6, 5, 5))
    ssn.train()


def select(ssn):
    set_radius(ssn, 0.9)
    keep_selected(ssn)


def name_a_backend(ssn):
    set_backend('reference')


def correct(ssn):
    ssn.correction = 1


@pytest.mark.parametrize(
    'change', [change_eps, change_momentum, evaluate, select, name_a_backend, correct]
)
def test_a_change_makes_the_next_step_look_again(change, repeated):
    ssn = layer()
    step(ssn), step(ssn)
    fresh = copy.deepcopy(ssn)
    for one in (ssn, fresh):
        change(one)
    assert all(torch.equal(a, b) for a, b in zip(step(ssn), step(fresh), strict=True))
    assert repeated[:2] == [False, True]
    assert not any(repeated[2:])


def test_another_shape_or_type_is_looked_at(repeated):
    ssn = layer()
    step(ssn)
    step(ssn, (3, 6, 4, 4))
    with pytest.raises(ValueError, match=r'expected \(N, 6, \*spatial\)'):
        ssn(torch.randn(2, 5, 4, 4))
    ssn(torch.randn(3, 6, 4, 4).bfloat16())
    assert not any(repeated)


def test_converted_parameters_are_computed_with(repeated):
    ssn = layer()
    step(ssn)
    ssn.double()
    y = step(ssn)[0]
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, step(layer())[0])


@pytest.mark.parametrize(
    ('wrong', 'refusal'),
    [
        (torch.ones(5), r'weight must be \(6,\) for an input of 6 channels, got \(5,\)'),
        (torch.ones(6, device='meta'), 'the input is on cpu and weight on meta'),
    ],
)
def test_another_tensor_is_looked_at(wrong, refusal, repeated):
    ssn = layer()
    step(ssn)
    ssn.weight = nn.Parameter(wrong)
    with pytest.raises((ValueError, RuntimeError), match=refusal):
        step(ssn)
    ssn.weight = nn.Parameter(torch.full((6,), 3.0))
    torch.testing.assert_close(step(ssn)[0], 3 * step(layer())[0])
    assert not any(repeated)


@pytest.mark.parametrize('name', ['running_mean', 'num_batches_tracked', 'radius'])
def test_another_buffer_is_the_one_that_is_used(name, repeated):
    ssn, fresh = layer(), layer()
    step(ssn), step(ssn), step(fresh), step(fresh)
    for one in (ssn, fresh):
        setattr(one, name, torch.full_like(getattr(one, name), 0.4 if name == 'radius' else 7))
    fresh.selection.step = None
    for own, wanted in zip(step(ssn), step(fresh), strict=True):
        assert torch.equal(own, wanted)
    assert repeated == [False, True, False, True, False, False]


@pytest.mark.compiler
def test_memory_that_does_not_fit_is_refused_before_it_is_read(repeated):
    ssn = layer()
    step(ssn)
    ssn.weight.data = torch.ones(5)
    with pytest.raises(RuntimeError, match='expected 6 numbers a channel on the CPU, got'):
        step(ssn)


def test_a_step_that_is_computed_again_does_not_update_statistics_again(repeated):
    ssn, plain = layer(), layer()
    for seed in range(3):
        x = torch.randn(2, 6, 4, 4, generator=torch.Generator().manual_seed(seed))
        checkpoint(ssn, x.requires_grad_(), use_reentrant=False).sum().backward()
        plain(x).sum().backward()
    assert any(repeated)
    assert torch.equal(ssn.running_mean, plain.running_mean)
    assert ssn.num_batches_tracked == 3


def test_copies_and_pickles_know_no_step(repeated):
    ssn = layer()
    step(ssn)
    for other in (copy.deepcopy(ssn), pickle.loads(pickle.dumps(ssn))):
        assert other.selection.step is None
        assert torch.equal(step(other)[0], step(ssn)[0])
