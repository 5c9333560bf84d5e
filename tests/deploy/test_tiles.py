"""Tiles change labels by what norms measure, and the layers that do it are named."""

import pytest
import torch
from torch import nn

from ssn_mm import MixedNorm
from ssn_mm.deploy import fold, tile_report, whole_picture_statistics
from ssn_mm.deploy.tiles import check_window

CROP = 12


def network(norms, kernel=3, width=4):
    """A segmentation network of three classes with a convolution before each norm."""
    torch.manual_seed(0)
    layers, channels = [], 3
    for norm in norms:
        convolution = nn.Conv2d(channels, width, kernel, padding=kernel // 2)
        layers += [convolution, norm(width), nn.ReLU()]
        channels = width
    net = nn.Sequential(*layers, nn.Conv2d(width, 3, 1))
    for _ in range(30):
        net(picture(4))  # running statistics
    with torch.no_grad():
        net[-1].bias -= net.eval()(picture()).mean((0, 2, 3))  # so that labels differ
    return net


def picture(count=1):
    """Pictures whose left is dark and right is bright, (count, 3, 24, 24)."""
    torch.manual_seed(1)
    return torch.randn(count, 3, 24, 24) * 0.3 + torch.linspace(-2, 2, 24)


def layer_norm(width):
    return nn.GroupNorm(1, width)


def instance_norm(width):
    return nn.InstanceNorm2d(width, affine=True)


def mixed_norm(width):
    return MixedNorm(width, 'LN', 'BN')


def test_a_network_of_batch_norm_is_blamed_for_nothing_though_borders_change_its_labels():
    report = tile_report(network([nn.BatchNorm2d] * 3), picture(), CROP)
    assert report.total == 24 * 24
    assert report.changed > 0
    assert report.changed == report.rest
    assert report.measures == report.layers == {}


@pytest.mark.parametrize('planted', [layer_norm, instance_norm, mixed_norm])
def test_the_layer_that_was_planted_is_the_one_that_is_named(planted):
    net = network([nn.BatchNorm2d, planted, nn.BatchNorm2d], kernel=1)
    report = tile_report(net, picture(2), CROP)
    assert list(report.layers) == ['4']
    assert report.changed == report.layers['4'] > 20
    assert report.rest == 0  # there are no borders where every window is one pixel


def test_what_borders_do_is_told_from_what_layers_do():
    blamed = network([nn.BatchNorm2d, layer_norm, nn.BatchNorm2d])
    report = tile_report(blamed, picture(), CROP)
    assert 0 < report.rest < report.changed
    assert report.layers['4'] > 0


class Weighed(nn.Module):
    """Two networks side by side, the first of which has no say."""

    def __init__(self, *networks):
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, x):
        return 0 * self.networks[0](x) + self.networks[1](x)


def test_a_layer_that_measures_tiles_and_changes_no_label_is_not_blamed():
    net = Weighed(network([instance_norm]), network([layer_norm], kernel=1)).eval()
    report = tile_report(net, picture(), CROP)
    assert report.measures == {'networks.0.1': 'IN', 'networks.1.1': 'LN'}
    assert list(report.layers) == ['networks.1.1', 'networks.0.1']
    assert report.layers == {'networks.1.1': report.changed, 'networks.0.1': 0}
    assert report.changed > 20


@pytest.mark.parametrize('folded', [False, True])
def test_with_the_whole_pictures_statistics_tiles_give_the_whole_pictures_scores(folded):
    net = network([mixed_norm, layer_norm, instance_norm], kernel=1)
    image = picture()
    expected = net(image).detach()
    if folded:
        fold(net, image)
        assert net[1].inplace
    state = [dict(vars(module)) for module in net.modules()]
    with torch.no_grad(), whole_picture_statistics(net, image):
        tiles = image.unfold(2, CROP, CROP).unfold(3, CROP, CROP)[0].permute(1, 2, 0, 3, 4)
        scores = net(tiles.flatten(0, 1))  # all tiles in a batch
        for index, found in enumerate(scores):
            top, left = CROP * (index // 2), CROP * (index % 2)
            own = expected[0, :, top : top + CROP, left : left + CROP]
            torch.testing.assert_close(found, own, atol=1e-5, rtol=1e-5)
    assert [dict(vars(module)) for module in net.modules()] == state
    assert not torch.allclose(net(tiles.flatten(0, 1)), scores, atol=1e-3)


class Twice(nn.Module):
    """A norm that is called twice in a forward pass."""

    def __init__(self):
        super().__init__()
        self.norm = nn.GroupNorm(1, 3)

    def forward(self, x):
        return self.norm(self.norm(x) + 3 * x.sin())


def test_a_layer_that_is_called_twice_has_statistics_for_either_call():
    net, image = Twice().eval(), picture()
    expected = net(image)
    with torch.no_grad(), whole_picture_statistics(net, image):
        for left in (0, CROP):
            found = net(image[..., left : left + CROP])
            torch.testing.assert_close(found, expected[..., left : left + CROP])


def test_an_error_inside_leaves_the_network_as_it_was():
    net, image = network([layer_norm]), picture(2)
    match = 'the statistics are of 2 pictures and the batch has 3'
    with pytest.raises(ValueError, match=match), whole_picture_statistics(net, image):
        net(picture(3))
    assert 'forward' not in vars(net[1])


def test_a_network_in_training_is_refused():
    net = network([nn.BatchNorm2d]).train()
    with pytest.raises(ValueError, match='training mode'):
        tile_report(net, picture(), CROP)


@pytest.mark.parametrize(
    ('crop', 'stride', 'window'),
    [
        (48, None, ((48, 48), (32, 32))),
        ((30, 60), None, ((30, 60), (20, 40))),
        (1, None, ((1, 1), (1, 1))),
        (8, 8, ((8, 8), (8, 8))),
    ],
)
def test_a_window_is_a_size_and_a_stride(crop, stride, window):
    assert check_window(crop, stride) == window


@pytest.mark.parametrize(('crop', 'stride'), [(8, 9), (0, None), (-3, 1), (8, 0), ((8, 4), 6)])
def test_a_window_that_leaves_gaps_or_is_none_is_refused(crop, stride):
    with pytest.raises(ValueError, match='the stride must be at least 1 and at most the size'):
        check_window(crop, stride)
