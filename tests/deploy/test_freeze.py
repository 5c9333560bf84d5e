import pytest
import torch
from torch import nn

from ssn_mm import SSN, set_radius
from ssn_mm.deploy import freeze

OMEGA = ('IN', 'LN', 'BN', 'GN')
PLAIN = {'IN': nn.InstanceNorm2d, 'LN': nn.GroupNorm, 'BN': nn.BatchNorm2d, 'GN': nn.GroupNorm}


def trained(mean, var, rank=2):
    """A network whose SSN chose, with statistics of some batches."""
    layer = SSN(8, OMEGA, num_groups=4)
    with torch.no_grad():
        layer.ratio_logits.zero_()
        layer.ratio_logits[0, OMEGA.index(mean)] = layer.ratio_logits[1, OMEGA.index(var)] = 1
        layer.weight.normal_(), layer.bias.normal_()
    set_radius(layer, 1.0)
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[rank - 1]
    model = nn.Sequential(conv(3, 8, 3), layer, nn.ReLU())
    for _ in range(3):
        model(torch.randn(4, 3, *[6] * rank) * 2 + 1)
    return model.eval()


@pytest.mark.parametrize('rank', [1, 2, 3])
@pytest.mark.parametrize('var', OMEGA)
@pytest.mark.parametrize('mean', OMEGA)
def test_a_frozen_network_equals_the_trained_one(mean, var, rank):
    model = trained(mean, var, rank)
    x = torch.randn(2, 3, *[6] * rank)
    expected = model(x).detach()
    frozen = freeze(model)
    assert frozen is model
    assert not any(isinstance(m, SSN) for m in frozen.modules())
    torch.testing.assert_close(frozen(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', OMEGA)
def test_one_choice_for_both_becomes_a_torch_module(name):
    assert type(freeze(trained(name, name))[1]) is PLAIN[name]
    assert type(freeze(trained(name, name)[1])) is PLAIN[name]  # an SSN itself


def test_an_undecided_layer_is_named_and_nothing_is_replaced():
    model = nn.Sequential(trained('BN', 'BN'), SSN(8))
    model(torch.randn(2, 3, 6, 6))
    with pytest.raises(ValueError, match=r'^1 has not chosen yet, its ratios are \[\[0\.33'):
        freeze(model)
    assert isinstance(model[0][1], SSN)


def test_a_layer_that_inference_leaves_out_is_taken_to_be_like_the_others():
    unseen = SSN(8)
    unseen.ratio_logits.data.copy_(torch.tensor([[0.0, 0, 1], [0, 0, 1]]))
    model = nn.ModuleDict(dict(seen=trained('BN', 'BN', 3), unseen=unseen))
    assert type(freeze(model)['unseen']) is nn.BatchNorm3d


def test_a_model_that_has_seen_no_input_is_refused():
    layer = SSN(8)
    set_radius(layer, 1.0)
    with pytest.raises(ValueError, match='has seen no input'):
        freeze(nn.Sequential(layer))
