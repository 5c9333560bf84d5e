"""What norms do to the layers around them, in the networks of the three libraries."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from ssn_mm.contestants import StandardizedConv2d, arrange
from ssn_mm.contestants.neighbours import Sparing
from ssn_mm.contestants.norms.evo_norm import EvoNormS0
from ssn_mm.contestants.norms.filter_response_norm import FRN
from ssn_mm.contestants.norms.group_norm_ws import GNWS
from ssn_mm.contestants.standardized import standardize
from ssn_mm.deploy import fold

FRAMES, CLIPS = (2, 3, 32, 32), (2, 3, 4, 32, 32)


class Block(nn.Module):
    """A residual block with one ReLU for a norm and for the sum, as OpenMMLab has it."""

    def __init__(self, norm, conv=nn.Conv2d):
        super().__init__()
        self.conv1, self.norm1 = conv(4, 4, 3, padding=1), norm(4)
        self.conv2, self.norm2 = conv(4, 4, 3, padding=1), norm(4)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        y = self.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        y += x
        return self.relu(y)


def block(norm=FRN, **kwargs):
    torch.manual_seed(0)
    net = Block(norm, **kwargs)
    for param in net.parameters():
        nn.init.uniform_(param, -1, 1)
    return net


def by_hand(net, x):
    """The block with its threshold after the first norm, and a ReLU after the sum alone."""
    y = net.norm2(net.conv2(net.norm1(net.conv1(x))))
    return functional.relu(y + x)


def test_a_threshold_takes_the_place_of_the_activation_and_the_sum_keeps_it():
    net, x = block(), torch.randn(2, 4, 8, 8)
    done = arrange(net, x)
    assert (done.spared, done.without_activation) == (['relu'], ['norm2'])
    assert net.norm1.tau is not None
    assert net.norm2.tau is None
    assert (net.norm1(net.conv1(x)) < 0).any()  # which a ReLU would have lost
    torch.testing.assert_close(net(x), by_hand(net, x))


def test_a_second_call_changes_nothing_and_copies_are_arranged():
    net, x = block(), torch.randn(2, 4, 8, 8)
    arrange(net, x)
    y = net(x)
    assert not arrange(net, x).spared
    for own in (net, copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        torch.testing.assert_close(own(x), y)


def test_recomputed_and_compiled_blocks_compute_the_same():
    net, x = block(), torch.randn(2, 4, 8, 8)
    arrange(net, x)
    y = net(x)
    y.sum().backward()
    wanted = [param.grad.clone() for param in net.parameters()]
    net.zero_grad()
    checkpoint(net, x, use_reentrant=False).sum().backward()
    torch.testing.assert_close([param.grad for param in net.parameters()], wanted)
    torch.testing.assert_close(torch.compile(net, backend='eager', fullgraph=True)(x), y)


def test_an_activation_of_a_norm_alone_goes():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), FRN(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU())
    arrange(net, torch.randn(2, 3, 8, 8))
    assert [type(layer).__name__ for layer in net] == [
        'Conv2d',
        'FRN',
        'Identity',
        'Conv2d',
        'ReLU',
    ]


def test_arranging_leaves_modes_statistics_and_random_numbers_as_they_were():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), FRN(4), nn.ReLU(), nn.BatchNorm2d(4), nn.Dropout())
    net[3].eval()
    x, state = torch.randn(2, 3, 8, 8), torch.get_rng_state()
    arrange(net, x)
    assert torch.equal(torch.get_rng_state(), state)
    assert [layer.training for layer in net] == [True, True, True, False, True]
    assert net[3].num_batches_tracked == 0


@pytest.mark.parametrize(
    ('net', 'told'),
    [
        (lambda: Calls(functional.relu), r'norm is the activation.*aten\.relu.*as a function'),
        (lambda: Calls(torch.nn.functional.silu), r'aten\.silu there as a function'),
        (lambda: Twice(), 'called 2 times, after which different or no activations follow'),
        (lambda: nn.Sequential(nn.ConvTranspose2d(3, 4, 3), GNWS(4, 2)), '0 is a ConvTranspose2d'),
        (lambda: nn.Sequential(Odd(3, 4, 3), GNWS(4, 2)), '0 is a Odd, whose weight cannot be'),
    ],
)
def test_what_cannot_be_arranged_is_named_and_left_as_it_was(net, told):
    net, x = net(), torch.randn(2, 3, 8, 8)
    kinds = [type(module) for module in net.modules()]
    with pytest.raises(ValueError, match=told):
        arrange(net, x)
    assert [type(module) for module in net.modules()] == kinds


class Calls(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.conv, self.norm, self.function = nn.Conv2d(3, 4, 3), FRN(4), function

    def forward(self, x):
        return self.function(self.norm(self.conv(x)))


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.relu = nn.Conv2d(3, 4, 3), FRN(4), nn.ReLU()

    def forward(self, x):
        return self.relu(self.norm(self.conv(x))) + self.norm(self.conv(x))


class Odd(nn.Conv2d):
    """A convolution that computes with another weight than its own."""

    def forward(self, x):
        return self._conv_forward(x, 2 * self.weight, self.bias)


@pytest.mark.parametrize('rank', [1, 2, 3])
def test_a_standardized_convolution_has_weights_of_mean_0_and_variance_1(rank):
    conv = getattr(nn, f'Conv{rank}d')
    net = nn.Sequential(conv(4, 6, 3, groups=2), GNWS(6, 3)).double()
    keys, x = list(net.state_dict()), torch.randn(2, 4, *[8] * rank, dtype=torch.float64)
    assert arrange(net, x).standardized == ['0']
    assert list(net.state_dict()) == keys
    assert isinstance(net[0], conv)
    weight = net[0].weight.detach()
    dims = list(range(1, weight.dim()))
    var, mean = torch.var_mean(weight, dims, correction=0, keepdim=True)
    wanted = (weight - mean) / (var + 1e-5).sqrt()
    own = getattr(functional, f'conv{rank}d')(x, wanted, net[0].bias, groups=2)
    torch.testing.assert_close(net[0](x), own)
    assert torch.autograd.gradcheck(standardize, weight.requires_grad_())


def test_standardized_weights_are_timms():
    timm = pytest.importorskip('timm.layers')
    theirs, x = timm.StdConv2d(4, 6, 3, padding=0, eps=1e-5), torch.randn(2, 4, 8, 8)
    net = nn.Sequential(nn.Conv2d(4, 6, 3, bias=False), GNWS(6, 3))
    net[0].weight = theirs.weight
    arrange(net, x)
    assert isinstance(net[0], StandardizedConv2d)
    plain = net[0].plain_layer()
    assert type(plain) is nn.Conv2d
    for own in (net[0], plain):
        torch.testing.assert_close(own(x), theirs(x))


NETWORKS = {
    'mmpretrain-18': ('mmpretrain', dict(type='ResNet', depth=18, base_channels=8), FRAMES),
    'mmpretrain-50': ('mmpretrain', dict(type='ResNet', depth=50, base_channels=8), FRAMES),
    'deeplab': ('mmseg', dict(type='ResNet', depth=18, base_channels=8), FRAMES),
    'i3d': (
        'mmaction',
        dict(type='ResNet3d', depth=50, base_channels=8, pretrained2d=False, pretrained=None),
        CLIPS,
    ),
}


def network(name, norm_cfg):
    from mmengine.registry import MODELS, DefaultScope

    scope, backbone, _ = NETWORKS[name]
    __import__(f'{scope}.models')
    if name == 'deeplab':
        backbone = dict(backbone, stem_channels=8, norm_cfg=norm_cfg)
        head = dict(type='FCNHead', channels=8, num_convs=1, num_classes=3, norm_cfg=norm_cfg)
        cfg = dict(
            type='EncoderDecoder',
            backbone=backbone,
            decode_head=dict(head, in_channels=64),
            auxiliary_head=dict(head, in_channels=32, in_index=2),
        )
    elif name == 'i3d':
        backbone = dict(backbone, norm_cfg=norm_cfg, conv_cfg=dict(type='Conv3d'))
        head = dict(type='I3DHead', num_classes=3, in_channels=256)
        cfg = dict(type='Recognizer3D', backbone=backbone, cls_head=head)
    else:
        cfg = dict(type='ImageClassifier', backbone=dict(backbone, norm_cfg=norm_cfg))
    with DefaultScope.overwrite_default_scope(scope):
        return MODELS.build(cfg)


class Seen:
    """The types of convolutions before norms, and of activations that act on a norm's output."""

    def __init__(self, model, kind):
        self.before, self.after, self.on_sums = set(), set(), 0
        self.made, self.kind = {}, kind
        for module in model.modules():
            module.register_forward_pre_hook(self.enter)
            module.register_forward_hook(self.leave)

    def enter(self, module, args):
        maker = self.made.get(id(args[0])) if args else None
        tensor, version, made = maker or (None, None, None)
        direct = tensor is not None and tensor is args[0] and tensor._version == version
        if isinstance(module, self.kind):
            self.before.add(type(made) if direct else None)
        elif isinstance(module, nn.ReLU):
            if direct and isinstance(made, self.kind):
                self.after.add(made)
            else:
                self.on_sums += 1

    def leave(self, module, args, output):
        if isinstance(module, self.kind | nn.modules.conv._ConvNd):
            self.made[id(output)] = (output, output._version, module)


def run(model, name):
    features = model.backbone(torch.randn(NETWORKS[name][2]))
    for head in ('decode_head', 'auxiliary_head'):
        if hasattr(model, head):
            getattr(model, head)(features)


@pytest.mark.parametrize('name', NETWORKS)
def test_convolutions_of_networks_are_standardized(name):
    model = network(name, dict(type='GNWS', num_groups=4))
    seen = Seen(model, GNWS)
    run(model, name)
    assert {kind.__name__ for kind in seen.before} == {
        'StandardizedConv3d' if name == 'i3d' else 'StandardizedConv2d'
    }


@pytest.mark.parametrize('name', NETWORKS)
@pytest.mark.parametrize(
    ('kind', 'norm_cfg'),
    [(FRN, dict(type='FRN')), (EvoNormS0, dict(type='EvoNormS0', num_groups=4))],
)
def test_no_activation_of_networks_acts_on_such_a_norm_and_those_of_sums_stay(name, kind, norm_cfg):
    plain, model = network(name, dict(type='GN', num_groups=4)), network(name, norm_cfg)
    before, seen = Seen(plain, nn.GroupNorm), Seen(model, kind)
    run(plain, name)
    run(model, name)
    assert len(before.after) > 8
    assert seen.after == set()
    assert seen.on_sums == before.on_sums >= 8
    own = [getattr(m, 'tau', getattr(m, 'v', None)) for m in model.modules() if type(m) is kind]
    assert sum(param is not None for param in own) == len(before.after)


def test_a_network_whose_norms_cannot_be_reached_is_refused_when_it_is_built():
    from mmengine.registry import MODELS

    class Unreached(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
            self.head = nn.Module()
            self.head.norm = FRN(4)

    with pytest.raises(ValueError, match=r'run to see what is around head\.norm'):
        MODELS.build(dict(type=Unreached))


@pytest.mark.parametrize('name', ['mmpretrain-18', 'i3d'])
@pytest.mark.parametrize(
    'norm_cfg',
    [
        dict(type='GNWS', num_groups=4),
        dict(type='BatchRenorm'),
        dict(type='FrozenBN'),
        dict(type='FRN'),
        dict(type='EvoNormS0', num_groups=4),
        dict(type='ChannelLN'),
        dict(type='ChannelRMS'),
        dict(type='DyT'),
    ],
    ids=lambda cfg: cfg['type'],
)
def test_a_trained_network_is_deployed_with_equal_outputs(name, norm_cfg):
    model, x = network(name, norm_cfg).backbone.double(), torch.randn(NETWORKS[name][2]).double()
    for param in model.parameters():
        nn.init.normal_(param, std=0.3)
    model(x)  # running statistics
    model.eval()
    wanted = model(x)
    kinds = {type(module).__name__ for module in fold(model, x).modules()}
    torch.testing.assert_close(model(x), wanted)
    gone = {'BatchRenorm', 'FrozenBN', 'StandardizedConv2d', 'StandardizedConv3d', 'GNWS'}
    assert not kinds & gone


def test_a_spared_activation_shows_itself():
    assert 'ReLU' in repr(Sparing(nn.ReLU()))
