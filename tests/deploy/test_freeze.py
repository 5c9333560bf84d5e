import pytest
import torch
from torch import nn

from ssn_mm import SSN, set_radius
from ssn_mm.deploy import freeze
from ssn_mm.ops import NORMALIZERS

PLAIN = {'IN': nn.InstanceNorm2d, 'LN': nn.GroupNorm, 'BN': nn.BatchNorm2d, 'GN': nn.GroupNorm}
PLAIN['FBN'] = nn.BatchNorm2d


def trained(mean, var, rank=2):
    """A network whose SSN has selected, with statistics of some batches."""
    layer = SSN(8, NORMALIZERS, num_groups=4)
    with torch.no_grad():
        layer.ratio_logits.zero_()
        for row, name in enumerate((mean, var)):
            layer.ratio_logits[row, NORMALIZERS.index(name)] = 1
        layer.weight.normal_(), layer.bias.normal_()
        layer.running_mean.normal_(), layer.running_var.uniform_(0.5, 2)
    set_radius(layer, 1.0)
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[rank - 1]
    model = nn.Sequential(conv(3, 8, 3), layer, nn.ReLU())
    for _ in range(3):
        model(torch.randn(4, 3, *[6] * rank) * 2 + 1)
    return model.eval()


@pytest.mark.parametrize('rank', [1, 2, 3])
@pytest.mark.parametrize('var', NORMALIZERS)
@pytest.mark.parametrize('mean', NORMALIZERS)
def test_a_frozen_network_equals_the_trained_one(mean, var, rank):
    model = trained(mean, var, rank)
    x = torch.randn(2, 3, *[6] * rank)
    expected = model(x).detach()
    frozen = freeze(model)
    assert frozen is model
    assert not any(isinstance(m, SSN) for m in frozen.modules())
    torch.testing.assert_close(frozen(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('pair', [('BN', 'BN'), ('IN', 'IN'), ('LN', 'LN'), ('GN', 'BN')])
def test_a_frozen_layer_has_the_precision_of_the_trained_one_and_learns_as_little(pair):
    model = trained(*pair).double()
    model[1].weight.requires_grad = False
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    expected = model(x).detach()
    freeze(model)
    torch.testing.assert_close(model(x), expected)  # as float64 can
    assert [p.requires_grad for p in model[1].parameters()] == [False, True]


@pytest.mark.parametrize('name', NORMALIZERS)
def test_one_selection_for_both_becomes_a_torch_module(name):
    assert type(freeze(trained(name, name))[1]) is PLAIN[name]
    assert type(freeze(trained(name, name)[1])) is PLAIN[name]  # an SSN itself


@pytest.mark.parametrize('name', NORMALIZERS)
def test_a_layer_of_features_behind_layers_of_maps_is_frozen_as_of_features(name):
    features = SSN(8, NORMALIZERS, num_groups=2)
    features.ratio_logits.data.copy_(torch.eye(len(NORMALIZERS))[[NORMALIZERS.index(name)] * 2])
    features.running_var.uniform_(0.5, 2)
    model = nn.Sequential(*trained('BN', 'BN'), nn.AdaptiveAvgPool2d(1), nn.Flatten(), features)
    set_radius(model.eval(), 2.0)
    x = torch.randn(2, 3, 6, 6)
    expected = model(x).detach()
    torch.testing.assert_close(freeze(model)(x), expected, rtol=1e-4, atol=1e-5)


def test_a_layer_that_has_not_selected_is_named_and_nothing_is_replaced():
    model = nn.Sequential(trained('BN', 'BN'), SSN(8))
    model(torch.randn(2, 3, 6, 6))
    with pytest.raises(ValueError, match=r'^1 has not selected yet, its ratios are \[\[0\.33'):
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


def test_force_takes_the_largest_ratio_of_a_row_not_yet_selected_and_says_so():
    layer = SSN(8)
    layer.ratio_logits.data.copy_(torch.tensor([[1.0, 1, 1.2], [0, 0, 1]]))
    model = nn.Sequential(trained('IN', 'IN'), layer)
    model(torch.randn(2, 3, 6, 6))
    with pytest.warns(UserWarning, match=r'1 had not selected, .* became BN and BN'):
        freeze(model, force=True)
    assert type(model[1]) is nn.BatchNorm2d
    assert type(model[0][1]) is nn.InstanceNorm2d


def test_a_layer_used_twice_is_replaced_in_both_places_by_one():
    model = trained('BN', 'IN')
    shared = nn.Sequential(model, model[1])
    x = torch.randn(2, 3, 6, 6)
    expected = shared(x).detach()
    freeze(shared)
    assert shared[1] is shared[0][1]
    torch.testing.assert_close(shared(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('shape', [(3, 8), (3, 8, 1), (3, 8, 1, 1)])
@pytest.mark.parametrize('var', NORMALIZERS)
@pytest.mark.parametrize('mean', NORMALIZERS)
def test_on_maps_of_one_element_the_ratio_is_handed_over_as_in_training(mean, var, shape):
    """Such maps stand behind the image pooling of DeepLab, where IN has nothing to measure."""
    model = nn.Sequential(trained(mean, var)[1])
    x = torch.randn(shape)
    expected = model(x).detach()
    torch.testing.assert_close(freeze(model)(x), expected, rtol=1e-4, atol=1e-5)
