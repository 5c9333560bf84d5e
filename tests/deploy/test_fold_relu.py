"""fold finds the ReLU that alone reads a norm's output, and the norm computes it."""

import copy

import pytest
import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmpretrain.models.backbones.resnet import Bottleneck
from torch import nn

from ssn_mm.deploy import fold
from ssn_mm.layers import MixedNorm
from ssn_mm.layers.relu import ReLUOnce


@pytest.fixture(autouse=True)
def _inference():
    with torch.no_grad():
        yield


def folded(model, *inputs):
    """Folds, and checks that outputs stay; the inputs of ReLU are then no longer negative."""
    for module in model.modules():
        if isinstance(module, MixedNorm):
            nn.init.normal_(module.weight), nn.init.normal_(module.bias)
    expected = copy.deepcopy(model.eval())(*inputs)
    fold(model, *inputs)
    torch.testing.assert_close(model(*inputs), expected, rtol=1e-4, atol=1e-5)
    return model


def pairs(model):
    return [m.relu_follows for m in model.modules() if isinstance(m, MixedNorm)]


def norm():
    return MixedNorm(4, 'LN', 'IN')


def image():
    return torch.randn(2, 4, 7, 7)


@pytest.mark.parametrize('inplace', [False, True])
@pytest.mark.parametrize('kind', [nn.GroupNorm, MixedNorm])
def test_a_relu_after_a_norm_is_found(kind, inplace):
    measured = nn.GroupNorm(2, 4) if kind is nn.GroupNorm else norm()
    model = nn.Sequential(nn.Conv2d(4, 4, 3), measured, nn.ReLU(inplace), nn.Conv2d(4, 4, 3))
    folded(model, image())
    assert pairs(model) == [True]
    assert type(model[2]) is ReLUOnce
    assert model[2].inplace == inplace


def test_a_norm_behind_no_convolution_has_it_too_but_a_norm_of_torch_stays():
    assert pairs(folded(nn.Sequential(norm(), nn.ReLU(), nn.Conv2d(4, 4, 1)), image())) == [True]
    model = folded(nn.Sequential(nn.GroupNorm(2, 4), nn.ReLU()), image())
    assert [type(m) for m in model] == [nn.GroupNorm, nn.ReLU]


def test_it_works_inside_convmodule():
    model = ConvModule(4, 4, 3, norm_cfg=dict(type='GN', num_groups=2))
    assert pairs(folded(model, image())) == [True]
    assert type(model.activate) is ReLUOnce


def test_one_relu_for_three_calls_serves_the_residual_sum_as_well():
    block = Bottleneck(16, 16, norm_cfg=dict(type='GN', num_groups=2))
    folded(block, torch.randn(2, 16, 5, 5))
    assert pairs(block) == [True, True, False]


class Block(nn.Module):
    """What becomes of the output of a norm, in many ways."""

    def __init__(self, how):
        super().__init__()
        self.how, self.conv, self.norm = how, nn.Conv2d(4, 4, 1), norm()
        self.relu, self.other = nn.ReLU(how != 'not in place'), nn.ReLU()

    def forward(self, x):
        y = self.norm(self.conv(x))
        if self.how == 'function':
            return F.relu(y)
        if self.how == 'residual':
            return self.other(y) + y
        if self.how == 'two':
            return self.other(y) + self.relu(y)
        if self.how == 'kept':
            self.feature = y
            return self.other(y)
        if self.how == 'output':
            return torch.stack([self.other(y), y])
        if self.how == 'norm twice':
            return self.relu(y) + self.norm(x)
        if self.how == 'moved':
            return self.relu(y.sub_(0.5))
        z = self.relu(y)
        if self.how == 'again':
            z -= 0.5  # the same memory, which is not rectified any more
            z = self.relu(z)
        if self.how == 'ReLU kept':
            self.feature = z
        return z + 1


@pytest.mark.parametrize(
    'how', ['function', 'residual', 'two', 'kept', 'output', 'norm twice', 'moved']
)
def test_a_norm_whose_output_something_else_reads_rectifies_nothing(how):
    block = folded(Block(how), image())
    assert pairs(block) == [False]
    assert type(block.relu) is nn.ReLU


@pytest.mark.parametrize('how', ['again', 'not in place', 'ReLU kept'])
def test_what_happens_behind_the_relu_does_not_matter(how):
    assert pairs(folded(Block(how), image())) == [True]


def test_hooks_that_read_between_the_two_keep_them_apart_and_others_stay():
    seen = []
    for name, found in (('norm', False), ('conv', True), ('relu', True)):
        block = Block('plain')
        block.get_submodule(name).register_forward_hook(lambda m, args, y: seen.append(y.min()))
        assert pairs(folded(block, image())) == [found]
    assert seen[-1] == 0
    assert len(seen) == 9  # of the copy, watched, and folded
    block = Block('plain')
    block.relu.register_forward_pre_hook(lambda m, args: seen.append(args[0].mean()))
    assert pairs(folded(block, image())) == [False]


def test_a_subclass_of_relu_with_a_formula_of_its_own_is_left():
    class Shifted(nn.ReLU):
        def forward(self, x):
            return super().forward(x - 1)

    model = folded(nn.Sequential(nn.Conv2d(4, 4, 1), norm(), Shifted()), image())
    assert pairs(model) == [False]
    assert type(model[2]) is Shifted
