"""Layers that measure a map in evaluation are found, and equal Eq. 1 by what they measure."""

import pytest
import torch
from torch import nn

from ssn_mm import SN, SSN, MixedNorm, set_radius
from ssn_mm.layers import layers_that_measure
from ssn_mm.layers.measuring import measuring_norms

C = 8


def filled(layer):
    """A layer in evaluation with numbers of its own, in float64."""
    torch.manual_seed(0)
    layer = layer.double().eval()
    for name, t in (*layer.named_parameters(), *layer.named_buffers()):
        if name.endswith(('weight', 'bias', 'running_mean')):
            nn.init.normal_(t)
        elif name.endswith('running_var'):
            nn.init.uniform_(t, 0.5, 2)
    return layer


def selected(mean, var, **options):
    layer = SSN(C, ('IN', 'LN', 'BN', 'GN', 'FBN'), num_groups=2, **options)
    set_radius(layer, 1.0)
    rows = [layer.normalizers.index(name) for name in (mean, var)]
    layer.ratio_logits.data.copy_(torch.eye(5)[rows])
    return layer


MEASURING = {
    'SSN of LN': (selected('LN', 'LN'), 'LN'),
    'SSN of IN and BN': (selected('IN', 'BN'), 'IN, BN'),
    'SSN of FBN and GN': (selected('FBN', 'GN'), 'BN, GN'),
    'SSN by an unbiased variance': (selected('IN', 'LN', correction=1), 'IN, LN'),
    'SSN that competes': (SSN(C), 'IN+LN+BN'),
    'SN': (SN(C, ('IN', 'BN')), 'IN+BN'),
    'MixedNorm': (MixedNorm(C, ('LN', 'BN'), 'GN', num_groups=4), 'LN+BN, GN'),
    'InstanceNorm': (nn.InstanceNorm2d(C, affine=True), 'IN'),
    'GroupNorm': (nn.GroupNorm(4, C), 'GN'),
    'GroupNorm of one group': (nn.GroupNorm(1, C, affine=False), 'LN'),
    'BatchNorm without statistics': (nn.BatchNorm2d(C, track_running_stats=False), 'BN'),
}
CONSTANT = {
    'SSN of BN': selected('BN', 'BN'),
    'SSN of FBN and BN': selected('FBN', 'BN'),
    'MixedNorm of BN': MixedNorm(C, 'BN', 'BN'),
    'BatchNorm': nn.BatchNorm2d(C),
    'InstanceNorm with statistics': nn.InstanceNorm2d(C, track_running_stats=True),
    'LayerNorm of tokens': nn.LayerNorm(C),
    'no norm': nn.Conv2d(C, C, 1),
}


@pytest.mark.parametrize('name', MEASURING)
def test_a_layer_that_measures_is_named_and_is_eq_1_by_what_it_measures(name):
    layer, measures = MEASURING[name]
    layer = filled(layer)
    assert layers_that_measure(nn.ModuleDict(dict(norm=layer))) == {'norm': measures}
    (own,) = measuring_norms(layer).values()
    for shape in ((3, C, 5, 4), (2, C, 3, 4, 2)):
        if len(shape) == 5 and 'Norm2d' in type(layer).__name__:
            continue
        x = torch.randn(shape, dtype=torch.double) * 3 + 2
        torch.testing.assert_close(own.normalize(x, own.moments(x)), layer(x))


@pytest.mark.filterwarnings('ignore:SSN')
def test_a_map_of_one_element_is_normalized_by_what_the_layer_hands_over_to():
    layer = filled(selected('IN', 'GN'))
    (own,) = measuring_norms(layer).values()
    x = torch.randn(2, C, 1, 1, dtype=torch.double)
    torch.testing.assert_close(own.normalize(x, own.moments(x)), layer(x))


@pytest.mark.parametrize('name', CONSTANT)
def test_a_layer_of_constants_measures_nothing(name):
    assert layers_that_measure(filled(CONSTANT[name])) == {}


def test_auxiliary_heads_are_passed_over_and_nested_names_are_whole():
    part = nn.ModuleDict(dict(norm=nn.GroupNorm(1, C)))
    net = nn.ModuleDict(dict(auxiliary_head=part, head=nn.Sequential(nn.ReLU(), part)))
    net['auxiliary_head'] = nn.ModuleDict(dict(norm=nn.GroupNorm(2, C)))
    assert layers_that_measure(net) == {'head.1.norm': 'LN'}


def test_what_timm_runs_after_a_norm_is_run():
    timm = pytest.importorskip('timm')
    layer = filled(timm.layers.GroupNormAct(C, 2))
    (own,) = measuring_norms(layer).values()
    x = torch.randn(2, C, 3, 3, dtype=torch.double)
    assert (layer(x) == 0).any()
    torch.testing.assert_close(own.normalize(x, own.moments(x)), layer(x))
