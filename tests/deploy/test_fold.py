import copy
import itertools

import pytest
import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from torch import nn
from torch.nn.utils import parametrizations

from ssn_mm import SSN
from ssn_mm.deploy import fold, freeze
from ssn_mm.layers import MixedNorm

CONVS = [nn.Conv1d, nn.Conv2d, nn.Conv3d]
TRANSPOSED = [nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d]
BATCH_NORMS = [nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d]


def with_statistics(model):
    """Every norm gets constants that are far from doing nothing."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm | MixedNorm):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            if module.weight is not None:
                nn.init.normal_(module.weight), nn.init.normal_(module.bias)
    return model.eval()


def norms(model):
    return [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


def check(model, *inputs, left=0):
    """Folds, and holds the outputs and the number of norms that stay against what is expected."""
    with_statistics(model)
    expected = copy.deepcopy(model)(*inputs)
    assert fold(model, *inputs) is model
    torch.testing.assert_close(model(*inputs), expected, rtol=1e-4, atol=1e-5)
    assert len(norms(model)) == left
    return model


def image(channels=4):
    return torch.randn(2, channels, 7, 7)


class Branches(nn.ModuleList):
    """Parts of a network that get one input."""

    def forward(self, x):
        return torch.stack([branch(x) for branch in self])


@pytest.mark.parametrize('kinds', [CONVS, TRANSPOSED], ids=['conv', 'transposed'])
@pytest.mark.parametrize('rank', [1, 2, 3])
def test_batch_norm_vanishes_into_every_kind_of_convolution(rank, kinds):
    options = dict(stride=2, padding=1, dilation=2)
    convs = [
        kinds[rank - 1](4, 8, 3, groups=groups, bias=bias, **options)
        for groups, bias in itertools.product([1, 2, 4], [True, False])
    ]
    norm = BATCH_NORMS[rank - 1]
    model = Branches(nn.Sequential(conv, norm(8), nn.ReLU()) for conv in convs)
    check(model, torch.randn(2, 4, *[7] * rank))
    for branch, conv in zip(model, convs, strict=True):
        assert branch[0] is conv
        assert type(branch[1]) is nn.Identity


@pytest.mark.parametrize('mode', ['circular', 'reflect'])
def test_a_padded_convolution_is_folded(mode):
    check(
        nn.Sequential(nn.Conv2d(4, 8, 3, padding=1, padding_mode=mode), nn.BatchNorm2d(8)), image()
    )


@pytest.mark.parametrize('norm', [nn.BatchNorm1d(8, affine=False), nn.SyncBatchNorm(8)])
def test_batch_norm_vanishes_into_a_linear_layer(norm):
    check(nn.Sequential(nn.Linear(4, 8), norm), torch.randn(3, 4))


def test_a_linear_layer_whose_features_are_not_the_norms_channels_is_left():
    check(nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8)), torch.randn(2, 8, 4), left=1)


def test_float64_and_half_weights_keep_their_dtype():
    double = nn.Sequential(nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8)).double()
    check(double, image().double())
    assert double[0].bias.dtype == torch.float64
    half = with_statistics(nn.Sequential(nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8)).bfloat16())
    expected = half(image().bfloat16())
    fold(half, image().bfloat16())
    assert half[0].weight.dtype == half[0].bias.dtype == expected.dtype == torch.bfloat16


@pytest.mark.parametrize('norm', ['BN', 'SSN'])
def test_it_works_inside_convmodule(norm):
    model = ConvModule(4, 8, 3, norm_cfg=dict(type=norm))
    if norm == 'SSN':
        model.norm.ratio_logits.data.copy_(torch.tensor([[0.0, 0, 1], [0, 0, 1]]))
        model.norm.radius.fill_(1)
        model(image())
        freeze(model)
    check(model, image())
    assert model.conv.bias is not None


def test_a_mean_alone_moves_into_the_bias_where_the_variance_is_the_instance_s():
    model = nn.Sequential(nn.Conv2d(4, 8, 3, bias=False), MixedNorm(8, 'BN', 'IN'))
    check(model, image())
    assert model[0].bias.abs().min() > 0
    assert model[1].running_mean.abs().max() == 0


def test_factors_of_bn_move_into_the_weights_where_the_mean_is_the_instance_s():
    model = nn.Sequential(nn.Conv2d(4, 8, 3, bias=False), MixedNorm(8, 'IN', 'BN'))
    before = model[0].weight.clone()
    check(model, image())
    assert not torch.equal(model[0].weight, before)
    assert model[1].weight.min() == model[1].weight.max() == 1
    rest = model[1].running_var + model[1]._eps
    torch.testing.assert_close(rest, torch.ones_like(rest))


@pytest.mark.parametrize(('mean', 'var'), [('BN', 'LN'), ('BN', 'GN'), ('LN', 'BN'), ('LN', 'IN')])
def test_other_mixed_norms_are_left_alone(mean, var):
    model = nn.Sequential(nn.Conv2d(4, 8, 3, bias=False), MixedNorm(8, mean, var, num_groups=4))
    check(model, image())
    assert model[0].bias is None


@pytest.mark.parametrize(
    'norm',
    [
        nn.GroupNorm(4, 8),
        nn.GroupNorm(1, 8),
        nn.InstanceNorm2d(8, affine=True),
        MixedNorm(8, 'LN', 'IN'),
    ],
)
def test_a_norm_that_measures_overwrites_what_nothing_else_reads(norm):
    model = nn.Sequential(nn.Conv2d(4, 8, 3), norm, nn.ReLU())
    check(model, image())
    assert isinstance(model[1], MixedNorm)
    assert model[1].inplace
    behind = nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU(), nn.GroupNorm(4, 8))
    assert type(check(behind, image())[2]) is nn.GroupNorm


def test_a_norm_does_not_overwrite_what_a_residual_reads():
    model = Tap('residual')
    model.norm = MixedNorm(4, 'LN', 'IN')
    check(model, image())
    assert not model.norm.inplace


class Shared(nn.Module):
    """One convolution, two norms."""

    def __init__(self):
        super().__init__()
        self.conv, self.a, self.b = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, x):
        return self.b(self.conv(self.a(self.conv(x))))


class Tap(nn.Module):
    """Something else reads the convolution's output, or keeps it."""

    def __init__(self, how):
        super().__init__()
        self.how, self.conv, self.norm = how, nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x):
        y = self.conv(x)
        if self.how == 'read before':
            return y.relu() + self.norm(y)
        z = self.norm(y)
        if self.how == 'residual':
            return z + y
        if self.how == 'view':
            return z + y.view(-1).view_as(z)
        if self.how == 'output':
            return torch.stack([z, z]), y
        if self.how == 'normalized twice':
            return z + self.norm(y)
        if self.how == 'kept':
            self.feature = y
        if self.how == 'weight read':
            return z + F.conv2d(x, self.conv.weight)
        return z


@pytest.mark.parametrize(
    'how',
    ['read before', 'residual', 'view', 'output', 'normalized twice', 'kept', 'weight read'],
)
def test_a_convolution_that_something_else_reads_is_left_unfused(how):
    model = with_statistics(Tap(how))
    expected = copy.deepcopy(model)(image())
    weight = model.conv.weight
    fold(model, image())
    assert len(norms(model)) == 1
    assert model.conv.weight is weight
    assert type(model(image())) is type(expected)


def test_the_same_module_without_a_tap_is_folded():
    check(Tap('no'), image())


def test_a_shared_convolution_is_left_unfused():
    check(Shared(), image(), left=2)


def test_a_hook_that_reads_the_convolution_s_output_keeps_it_unfused():
    model, seen = Tap('no'), []
    model.conv.register_forward_hook(lambda module, args, output: seen.append(output.mean()))
    check(model, image(), left=1)


def test_convolutions_that_share_their_weight_are_left_unfused():
    model = nn.Sequential(
        nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
    )
    model[2].weight = model[0].weight
    check(model, image(), left=2)


def test_a_weight_shared_with_a_path_not_taken_is_left_unfused():
    model = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
    model.add_module('spare', nn.Identity())
    model.spare.head = nn.Conv2d(4, 4, 1)
    model.spare.head.weight = model[0].weight
    check(model, image(), left=1)


def test_a_norm_behind_a_foreign_one_is_not_folded_across_it():
    ssn = SSN(4)
    ssn.ratio_logits.data.copy_(torch.tensor([[1.0, 0, 0], [1, 0, 0]]))
    ssn.radius.fill_(1)
    model = nn.Sequential(nn.Conv2d(4, 4, 3), ssn, nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4))
    first = model[0].weight
    check(model, image())  # trained, not frozen
    assert model[0].weight is first
    assert type(model[1]) is SSN
    assert type(freeze(model)[1]) is nn.InstanceNorm2d
    assert model[0].weight is first


def test_computed_weights_are_left_alone():
    class Standardized(nn.Conv2d):
        def forward(self, x):
            return self._conv_forward(x, self.weight - self.weight.mean(), self.bias)

    check(nn.Sequential(Standardized(4, 4, 1), nn.BatchNorm2d(4)), image(), left=1)
    normed = parametrizations.weight_norm(nn.Conv2d(4, 4, 1))
    check(nn.Sequential(normed, nn.BatchNorm2d(4)), image(), left=1)


def test_batch_statistics_and_subclasses_with_their_own_forward_are_left_alone():
    class Doubled(nn.BatchNorm2d):
        def forward(self, x):
            return 2 * super().forward(x)

    check(nn.Sequential(nn.Conv2d(4, 4, 1), Doubled(4)), image(), left=1)
    measured = nn.BatchNorm2d(4, track_running_stats=False)
    model = nn.Sequential(nn.Conv2d(4, 4, 1), measured).eval()
    assert fold(model, image())[1] is measured


def test_a_norm_that_is_the_model_s_first_layer_or_behind_an_activation_is_left():
    check(
        nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1), nn.ReLU(), nn.BatchNorm2d(4)),
        image(),
        left=2,
    )


def test_a_path_that_the_input_does_not_take_is_left_alone():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.used = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
            self.spare = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))

        def forward(self, x):
            return self.used(x)

    model = check(Two(), image(), left=1)
    assert type(model.spare[1]) is nn.BatchNorm2d


def test_a_network_that_was_traced_in_evaluation_folds():
    model = nn.Sequential(nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)), nn.ReLU())
    traced = torch.fx.symbolic_trace(with_statistics(model))
    assert traced.get_submodule('0').training  # what torch.fx makes of containers
    x = image()
    expected = model(x)
    torch.testing.assert_close(fold(traced, x)(x), expected, rtol=1e-4, atol=1e-5)
    assert not norms(traced)


def test_a_model_in_training_is_refused():
    model = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)).eval()
    model[1].train()
    with pytest.raises(ValueError, match=r'^1 is in training'):
        fold(model, image())


@pytest.mark.parametrize('norm', [nn.BatchNorm2d(4), nn.InstanceNorm2d(4, affine=True)])
def test_a_norm_whose_output_a_hook_changes_is_left_as_it_is(norm):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), norm, nn.Conv2d(4, 2, 1)).eval()
    handle = norm.register_forward_hook(lambda module, args, output: output + 0.5)
    x = torch.randn(2, 3, 6, 6)
    expected = model(x)
    torch.testing.assert_close(fold(model, x)(x), expected)
    assert model[1] is norm
    handle.remove()
