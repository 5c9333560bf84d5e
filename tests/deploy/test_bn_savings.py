"""What batch norm would save, and that fine-tuning gets there."""

import pytest
import torch
from torch import nn

from ssn_mm import SSN, keep_selected, set_radius, update_bn
from ssn_mm.deploy import bn_savings, fold, freeze, select_bn
from ssn_mm.deploy.bn_savings import with_bn
from ssn_mm.layers import MixedNorm

IN, LN, BN, IN_LN = (0, 0), (1, 1), (2, 2), (0, 1)


def trained(*selected):
    """A network whose layers selected pairs of normalizers; the last has no layer before it."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), SSN(8), nn.ReLU(), nn.Conv2d(8, 8, 3), SSN(8), nn.ReLU(), SSN(8),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2),
    )  # fmt: skip
    layers = [layer for layer in model if isinstance(layer, SSN)]
    for layer, pair in zip(layers, selected, strict=True):
        layer.ratio_logits.data.copy_(torch.eye(3)[list(pair)])
    set_radius(model, 1.0)
    model(torch.randn(4, 3, 12, 12))
    return model


def test_each_layer_that_measures_is_told_with_its_map_and_what_becomes_of_it():
    model, inputs = freeze(trained(BN, IN_LN, LN).eval()), torch.randn(4, 3, 12, 12)
    before = model(inputs)
    found = bn_savings(model, inputs, seconds=0)
    layers = {layer.name: layer for layer in found.layers}
    assert layers.keys() == {'4', '6'}
    assert layers['4'].measures == 'IN, LN'
    assert layers['4'].map_shape == (4, 8, 8, 8)
    assert layers['4'].vanishes
    assert not layers['6'].vanishes  # no convolution stands before it
    assert all(0 < layer.seconds < found.seconds for layer in found.layers)
    assert found.ratio > 0
    text = str(found)
    assert '4x8x8x8' in text
    assert 'stays, a scale and a shift' in text
    assert f'{4 * 4 * 8 * 8 * 8 / 1e6:.2f}' in text
    torch.testing.assert_close(model(inputs), before)  # the network is left as it is
    assert not isinstance(model[4], MixedNorm) or not model[4].inplace


def test_a_network_of_batch_norm_has_nothing_to_save():
    found = bn_savings(freeze(trained(BN, BN, BN).eval()), torch.randn(4, 3, 12, 12), seconds=0)
    assert not found.layers
    assert 'all batch norm is folded away' in str(found)


def test_with_bn_is_what_fine_tuning_would_deploy():
    model = with_bn(freeze(trained(BN, IN, LN).eval()), torch.randn(4, 3, 12, 12))
    assert [type(model[k]) for k in (1, 4, 6)] == [nn.Identity, nn.Identity, nn.BatchNorm2d]


def test_a_layer_that_selected_in_is_moved_to_bn_recalibrated_fine_tuned_and_folds_away():
    """As docs/deploy.md says it."""
    model = trained(BN, IN, BN)
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(32) % 2
    images = torch.randn(32, 3, 12, 12, generator=generator) + labels.view(-1, 1, 1, 1)

    def loss():
        return nn.functional.cross_entropy(model(images), labels)

    select_bn(model, ['4'])
    assert model[4].selected == ('BN', 'BN')
    statistics = model[4].running_mean.clone()
    update_bn([images], model)
    assert not torch.equal(model[4].running_mean, statistics)
    before, optimizer = loss().item(), torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(20):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        keep_selected(model)
    assert loss().item() < before / 2
    assert model[4].selected == ('BN', 'BN')
    expected = model.eval()(images)
    folded = fold(freeze(model), images)
    assert isinstance(folded[4], nn.Identity)
    torch.testing.assert_close(folded(images), expected, rtol=1e-4, atol=1e-4)


def test_layers_that_cannot_select_bn_are_refused_and_none_is_changed():
    model = trained(IN, IN, IN)
    with pytest.raises(ValueError, match=r"'0' is no SSN of the network; it has 1, 4, 6"):
        select_bn(model, ['1', '0'])
    assert model[1].selected == ('IN', 'IN')
    model = nn.Sequential(SSN(4, normalizers=('IN', 'LN')))
    with pytest.raises(ValueError, match=r"0 cannot select BN, it has \('IN', 'LN'\)"):
        select_bn(model)
