"""Symbolic tracing takes a layer for one operation, as it does torch's norms."""

import copy

import pytest
import torch
from torch import fx, nn

from ssn_mm import SN, SSN, keep_selected, set_radius
from ssn_mm.deploy import freeze
from ssn_mm.layers import MixedNorm

RADII = {'competing': 0.05, 'selected': 1.0}


class Block(nn.Module):
    def __init__(self, norm=SSN):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv2d(3, 6, 3), norm(6)
        self.tail = nn.Sequential(nn.Conv2d(6, 6, 1), norm(6))

    def forward(self, x):
        x = self.norm(self.conv(x)).relu()
        return x + self.tail(x)


def learn(model, x, radius, steps=4):
    """Losses of some steps of training."""
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    losses = []
    for _ in range(steps):
        set_radius(model, radius)
        loss = model(x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        keep_selected(model)
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize('radius', RADII.values(), ids=RADII)
def test_a_traced_network_trains_selects_and_freezes_as_the_one_it_was_traced_from(radius):
    plain, x = Block(), torch.randn(4, 3, 8, 8)
    traced = fx.symbolic_trace(copy.deepcopy(plain))
    assert [n.target for n in traced.graph.nodes if n.op == 'call_module'] == [
        *('conv', 'norm', 'tail.0', 'tail.1')
    ]
    assert learn(traced, x, radius) == learn(plain, x, radius)
    assert (traced.norm.selected[0] is not None) == (radius == 1)
    for ours, own in zip(traced.state_dict().values(), plain.state_dict().values(), strict=True):
        assert torch.equal(ours, own)
    traced.eval(), plain.eval()
    assert torch.equal(traced(x), plain(x))
    assert torch.equal(fx.symbolic_trace(plain)(x), plain(x))
    if radius == 1:
        expected = plain(x)
        frozen = freeze(traced)
        assert not any(isinstance(m, SSN) for m in frozen.modules())
        torch.testing.assert_close(frozen(x), expected)
        torch.testing.assert_close(fx.symbolic_trace(freeze(plain))(x), expected)


@pytest.mark.parametrize('norm', [SN, lambda c: MixedNorm(c, 'BN', 'LN')], ids=['SN', 'MixedNorm'])
def test_our_other_layers_are_traced_too(norm):
    model, x = Block(norm), torch.randn(4, 3, 8, 8)
    assert torch.equal(fx.symbolic_trace(copy.deepcopy(model))(x), model(x))
    assert torch.equal(fx.symbolic_trace(model.eval())(x), model(x))


def test_a_layer_alone_is_not_traced():
    with pytest.raises(ValueError, match=r'SSN alone cannot be traced.*a network that contains it'):
        fx.symbolic_trace(SSN(4))
    with pytest.raises(fx.proxy.TraceError):
        fx.symbolic_trace(nn.BatchNorm2d(4))


def test_torchvisions_feature_extractor_knows_the_layers_by_name():
    pytest.importorskip('torchvision')
    from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

    model, x = Block(), torch.randn(4, 3, 8, 8)
    assert 'norm' in get_graph_node_names(model)[0]
    extractor = create_feature_extractor(copy.deepcopy(model), ['norm', 'tail.1'])
    for mode in (True, False):
        extractor.train(mode), model.train(mode)
        found = extractor(x)
        assert torch.equal(found['norm'], model.norm(model.conv(x)))
        assert torch.equal(found['tail.1'], model.tail(found['norm'].relu()))


def test_fx_quantization_leaves_the_layers_in_float():
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    model, x = Block().eval(), torch.randn(4, 3, 8, 8)
    prepared = prepare_fx(copy.deepcopy(model), get_default_qconfig_mapping(), (x,))
    prepared(x)
    quantized = convert_fx(prepared)
    assert isinstance(quantized.norm, SSN)
    torch.testing.assert_close(quantized(x), model(x), rtol=0.1, atol=0.1)
