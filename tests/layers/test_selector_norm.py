"""Selectors beside SparsestMax: ratios, gradients, temperature, states, freezing."""

import copy
import pickle
import re

import pytest
import torch
from torch import nn

import ssn_mm
from ssn_mm import SN, SSN, SyncSSN, selection_entropy, set_temperature
from ssn_mm.deploy import freeze
from ssn_mm.layers import SELECTORS, SelectorNorm, selectors, switch_norms
from ssn_mm.ops import sparsemax, switch_norm

NAMES = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            name == 'entmax15' and not selectors.find_spec('entmax'), reason='needs entmax'
        ),
    )
    for name in SELECTORS[1:]
]
LOGITS = torch.tensor([[0.3, -0.2, 0.5], [1.2, 0.9, -0.4]])


def layer(name, logits=LOGITS, **options):
    made = SSN(6, selector=name, **options)
    made.ratio_logits.data.copy_(logits)
    return made.double()


def entmax15_by_bisection(z):
    """entmax of order 1.5 by its definition: p = (z/2 - τ)₊² with a sum of 1."""
    low, high = z.max(-1, keepdim=True).values / 2 - 1, z.max(-1, keepdim=True).values / 2
    for _ in range(80):
        middle = (low + high) / 2
        large = (z / 2 - middle).clamp(min=0).square().sum(-1, keepdim=True) > 1
        low, high = middle.where(large, low), high.where(large, middle)
    return (z / 2 - low).clamp(min=0).square()


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('heat', [1.0, 0.3])
def test_ratios_are_those_of_the_selectors_definition(name, heat):
    z = LOGITS.double() / heat
    expected = dict(sparsemax=sparsemax, entmax15=entmax15_by_bisection).get(
        name, lambda z: z.exp() / z.exp().sum(-1, keepdim=True)
    )(z)
    made = layer(name)
    set_temperature(made, heat)
    torch.testing.assert_close(made.ratios(), expected, atol=1e-7, rtol=0)


@pytest.mark.parametrize('name', NAMES)
def test_evaluation_and_gradients_are_those_of_eq_1_with_these_ratios(name):
    made, x = layer(name).eval(), torch.randn(2, 6, 3, 3, dtype=torch.float64)
    y = made(x)
    statistics = (made.running_mean, made.running_var)
    expected = switch_norm(x, made.ratios(), made.normalizers, None, None, *statistics)
    torch.testing.assert_close(y, expected)
    (y * torch.randn_like(y)).sum().backward()
    assert made.ratio_logits.grad.abs().sum() > 0


@pytest.mark.parametrize('name', NAMES)
def test_at_temperature_0_every_row_is_its_largest_logit_and_freezes(name):
    made = layer(name).eval()
    x = torch.randn(2, 6, 3, 3, dtype=torch.float64)
    made(x)
    if name != 'sparsemax':
        with pytest.raises(ValueError, match='temperature 0'):
            freeze(copy.deepcopy(made))
    set_temperature(made, 0)
    assert made.selected == ('BN', 'IN')
    torch.testing.assert_close(freeze(copy.deepcopy(made)).eval()(x), made(x))
    made.train()(x).sum().backward()
    assert not made.ratio_logits.grad.any()


@pytest.mark.parametrize('name', NAMES)
def test_copies_pickles_and_states_keep_everything(name):
    made = layer(name)
    set_temperature(made, 0.5)
    for other in (copy.deepcopy(made), pickle.loads(pickle.dumps(made)), layer(name, LOGITS * 2)):
        other.load_state_dict(made.state_dict())
        assert (other.selector, other.temperature.item()) == (name, 0.5)
        assert other.ratios().equal(made.ratios())


@pytest.mark.parametrize('name', NAMES)
def test_ratios_to_start_with_are_taken_by_every_selector(name):
    ratios = torch.tensor([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]], dtype=torch.float64)
    made = layer(name)
    ssn_mm.layers.put_ratios(made, ratios)
    torch.testing.assert_close(made.ratios(), ratios, atol=1e-6, rtol=0)
    converted = ssn_mm.convert_norms(nn.BatchNorm2d(6), selector=name, start=0.8)
    assert converted.selector == name
    assert converted.ratios()[0].tolist() == pytest.approx([0.1, 0.1, 0.8], abs=1e-6)


def test_gumbel_draws_one_hot_samples_as_often_as_the_ratios_say():
    torch.manual_seed(0)
    made = layer('gumbel')
    drawn = torch.stack([made._drawn(made.ratios()) for _ in range(4000)])
    assert set(drawn.detach().round(decimals=6).unique().tolist()) == {0, 1}
    torch.testing.assert_close(drawn.mean(0), made.ratios(), atol=0.03, rtol=0)
    made._drawn(made.ratios())[0, 0].backward()
    assert made.ratio_logits.grad[0].abs().sum() > 0
    x = torch.randn(2, 6, 3, 3, dtype=torch.float64)
    made.eval()
    assert made(x).equal(made(x))


def test_the_entropy_of_softmax_rows_is_measured_in_nats():
    model = nn.Sequential(layer('softmax+entropy', torch.zeros(2, 3)), layer('softmax'))
    assert selection_entropy(model).item() == pytest.approx(1.0986, abs=1e-4)
    set_temperature(model, 0)
    assert selection_entropy(model).item() == 0
    with pytest.raises(ValueError, match=r"no layer with selector='softmax\+entropy'"):
        selection_entropy(model[1])


def test_states_of_sn_and_ssn_keep_their_ratios_where_the_selector_is_a_softmax():
    sn, ssn, made = SN(6), SSN(6), layer('gumbel')
    sn.ratio_logits.data.copy_(LOGITS)
    made.load_state_dict(sn.state_dict())
    torch.testing.assert_close(made.ratios().float(), sn.ratios())
    ssn.ratio_logits.data.copy_(torch.tensor([[0.5, 0.3, 0.2]] * 2))
    made.load_state_dict(ssn.state_dict())
    torch.testing.assert_close(made.ratios().float(), ssn.ratios())


@pytest.mark.parametrize('heat', [0.5, 0.0])
@pytest.mark.parametrize('kind', [SN, SSN])
def test_a_softmax_of_any_temperature_loads_into_sn_and_ssn_with_its_ratios(kind, heat):
    made, other = layer('argmax').float(), kind(6)
    set_temperature(made, heat)
    other.load_state_dict(made.state_dict())
    torch.testing.assert_close(other.ratios(), made.ratios(), atol=1e-6, rtol=0)
    again = ssn_mm.convert_norms(copy.deepcopy(made), kind.__name__)
    assert type(again) is kind
    torch.testing.assert_close(again.ratios(), made.ratios(), atol=1e-6, rtol=0)


@pytest.mark.parametrize(('theirs', 'own'), [('sparsemax', 'softmax'), ('softmax', 'sparsemax')])
def test_logits_of_another_selector_are_refused(theirs, own):
    with pytest.raises(RuntimeError, match="are another selector's than the layer's"):
        layer(own).load_state_dict(layer(theirs).state_dict())


def test_unknown_selectors_and_temperatures_are_refused(monkeypatch):
    with pytest.raises(ValueError, match=r"unknown selector 'softmx'; did you mean 'softmax'"):
        SSN(6, selector='softmx')
    with pytest.raises(ValueError, match="SN's selector is softmax, got gumbel"):
        SN(6, selector='gumbel')
    for wrong in (-1, float('nan'), float('inf')):
        with pytest.raises(ValueError, match=re.escape(f'>= 0, got {wrong}')):
            set_temperature(layer('gumbel'), wrong)
    monkeypatch.setattr(selectors, 'find_spec', lambda _: None)
    with pytest.raises(ImportError, match='pip install entmax'):
        SSN(6, selector='entmax15')


def test_sparsestmax_stays_ssn_and_synchronized_layers_stay_synchronized():
    assert type(SSN(6, selector='sparsestmax')) is SSN
    made = SyncSSN(6, selector='gumbel')
    assert type(made) is SelectorNorm
    assert made.sync
    model = nn.Sequential(SSN(6), made)
    ssn_mm.set_radius(model, 0.5)
    ssn_mm.keep_selected(model)
    assert len(list(switch_norms(model))) == 2
