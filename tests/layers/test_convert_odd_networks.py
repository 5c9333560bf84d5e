"""Networks that hold, hook, wrap or compile their norms in ways of their own."""

import re
from collections import namedtuple

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from ssn_mm import SSN, convert_norms, plan_conversion
from ssn_mm.deploy import freeze

X = torch.randn(4, 8, 6, 6, generator=torch.Generator().manual_seed(0))
Pair = namedtuple('Pair', 'name norm')


def conv_norm():
    return nn.Sequential(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8))


class Holding(nn.Module):
    """Runs its norms from places where ``nn.Module`` does not see them."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(8)
        self.__dict__['alias'] = self.norm
        self.steps = [('first', self.norm), Pair('second', self.norm)]
        self.by_name = dict(norm=self.norm, others=(self.norm, 3))

    def forward(self, x):
        for _, step in self.steps:
            x = step(x)
        return self.by_name['others'][0](self.by_name['norm'](self.alias(x)))


def test_norms_are_replaced_wherever_a_network_holds_them():
    model = convert_norms(Holding())
    held = [model.alias, model.steps[0][1], model.steps[1].norm, model.by_name['norm']]
    assert all(norm is model.norm for norm in (*held, model.by_name['others'][0]))
    assert type(model.steps[1]) is Pair
    assert model.by_name['others'][1] == 3
    model.train()(X)
    assert model.norm.num_batches_tracked == 5
    model.eval()
    expected = model(X)
    freeze(model)
    assert type(model.norm) is nn.BatchNorm2d
    assert all(norm is model.norm for norm in (model.alias, model.steps[0][1], model.steps[1].norm))
    torch.testing.assert_close(model(X), expected)


def test_all_kinds_of_hooks_go_on_and_can_be_removed():
    model, seen = conv_norm(), []

    def note(what):
        return lambda *_: seen.append(what)

    norm = model[1]
    handles = [
        norm.register_forward_pre_hook(note('before')),
        norm.register_forward_pre_hook(lambda *given: seen.append(len(given)), with_kwargs=True),
        norm.register_forward_hook(note('after')),
        norm.register_forward_hook(lambda *given: seen.append(len(given)), with_kwargs=True),
        norm.register_forward_hook(note('always'), always_call=True),
        norm.register_full_backward_pre_hook(note('gradient before')),
        norm.register_full_backward_hook(note('gradient')),
    ]
    x = X.clone().requires_grad_()
    model(x).sum().backward()
    expected = seen.copy()
    seen.clear()
    convert_norms(model)
    model(x).sum().backward()
    assert seen == expected
    assert len(expected) == len(handles)
    for handle in handles:
        handle.remove()
    seen.clear()
    model(x).sum().backward()
    assert seen == []


def test_hooks_of_the_state_are_said_to_be_lost():
    model = conv_norm()
    model[1].register_state_dict_post_hook(lambda *_: None)
    assert 'hooks of state_dict' in str(plan_conversion(model))


def test_a_norm_without_tensors_gets_the_device_and_type_of_what_is_around_it():
    model = nn.Sequential(nn.Conv2d(8, 8, 1), nn.InstanceNorm2d(8), nn.Conv2d(8, 8, 1).double())
    model[0].bfloat16()
    assert convert_norms(model)[1].ratio_logits.dtype is torch.bfloat16
    model = nn.Sequential(nn.InstanceNorm2d(8), nn.Conv2d(8, 8, 1).double())
    assert convert_norms(model, 'SN')[0].running_mean.dtype is torch.float64
    with torch.device('meta'):
        model = nn.Sequential(nn.Conv2d(8, 8, 1), nn.GroupNorm(2, 8, affine=False))
    assert 'no values on the meta device' in str(plan_conversion(model))
    assert convert_norms(model)[1].ratio_logits.is_meta


@pytest.mark.parametrize('lacking', ['weight', 'bias'])
def test_a_parameter_that_a_norm_lacks_stays_a_constant(lacking):
    norm = nn.BatchNorm2d(8)
    setattr(norm, lacking, None)
    assert re.search('[γβ]: BatchNorm2d has none', str(plan_conversion(norm)))
    layer = convert_norms(norm)
    trained = {name for name, p in layer.named_parameters() if p.requires_grad}
    assert trained == {'weight', 'bias', 'ratio_logits'} - {lacking}


def test_a_convolution_with_spectral_norm_has_no_normalization_layer():
    model = conv_norm()
    parametrizations.spectral_norm(model[0])
    parametrizations.weight_norm(model.append(nn.Conv2d(8, 4, 1))[2])
    model.eval()
    expected = model(X)
    assert len(plan_conversion(model).rows) == 1
    torch.testing.assert_close(convert_norms(model)(X), expected, rtol=1e-5, atol=1e-5)


def test_a_compiled_norm_and_one_observed_for_quantization_are_refused():
    model = conv_norm()
    model[1] = torch.compile(model[1], backend='eager')
    with pytest.raises(ValueError, match=r'1 \(BatchNorm2d\): it is compiled by itself'):
        convert_norms(model)
    whole = torch.compile(conv_norm(), backend='eager')
    assert isinstance(convert_norms(whole)._orig_mod[1], SSN)
    model = conv_norm()
    model[1].add_module('activation_post_process', nn.Identity())
    with pytest.raises(ValueError, match=r'1 \(BatchNorm2d\): it is observed for quantization'):
        convert_norms(model)


def test_a_graph_that_has_no_norms_left_is_told_apart():
    graph = torch.fx.symbolic_trace(conv_norm().eval())
    assert isinstance(convert_norms(graph).get_submodule('1'), SSN)
    graph = torch.fx.symbolic_trace(nn.Sequential(nn.Conv2d(1, 1, 1)))
    with pytest.raises(ValueError, match='Convert before scripting, exporting'):
        convert_norms(graph)


class DetrFrozenBatchNorm2d(nn.Module):
    """As DETR has it: ε stands in its forward pass alone."""

    def __init__(self):
        super().__init__()
        for name, value in dict(weight=2.0, bias=1.0, running_mean=0.5, running_var=3.0).items():
            self.register_buffer(name, torch.full((8,), value))

    def forward(self, x):
        scale = self.weight * (self.running_var + 1e-5).rsqrt()
        return x * scale[0] + (self.bias - self.running_mean * scale)[0]


def test_a_frozen_batch_norm_whose_eps_is_hidden_is_refused_until_it_is_told():
    norm = DetrFrozenBatchNorm2d()
    with pytest.raises(ValueError, match=r'set it \(module\.eps = 1e-5\)'):
        convert_norms(norm)
    norm.eps = 1e-5
    layer = convert_norms(norm)
    assert layer.selected == ('FBN', 'FBN')
    torch.testing.assert_close(layer(X), norm(X))


class LayerNorm2d(nn.LayerNorm):
    """As mmpretrain has it: a call may say that channels come last."""

    def forward(self, x, data_format='channel_first'):
        if data_format == 'channel_last':
            return super().forward(x)
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


def test_a_layer_norm_whose_layout_a_call_tells_is_left_even_where_others_start_even():
    model = nn.Sequential(LayerNorm2d(8), nn.BatchNorm2d(8))
    with pytest.raises(ValueError, match=r'0 \(LayerNorm2d\): .* takes data_format'):
        convert_norms(model)
    convert_norms(model, unequal='even')
    assert [type(layer) for layer in model] == [LayerNorm2d, SSN]


@pytest.mark.parametrize('given', [None, 'resnet18', [nn.BatchNorm2d(4)]])
def test_what_is_no_network_is_refused(given):
    with pytest.raises(TypeError, match=r'model must be a network \(nn\.Module\), got'):
        convert_norms(given)


@pytest.mark.parametrize(
    ('options', 'error', 'match'),
    [
        (dict(include=3), TypeError, 'include must be a pattern of names.* got 3'),
        (dict(exclude=[4.5]), TypeError, r'exclude must be a pattern of names.* got 4\.5'),
        (dict(start=None), ValueError, "start must be 'kept', .* got None"),
        (dict(start=[0.1, 0.9]), ValueError, r'start must be .* got \[0\.1, 0\.9\]'),
        (dict(start=dict(BN='0.5')), ValueError, "start must be .* got {'BN': '0.5'}"),
        (dict(start=dict(BN=0)), ValueError, 'one of them above 0.* got'),
        (dict(start=dict(FBN=1)), ValueError, 'start has ratios of FBN, and no layer.* BN, IN, LN'),
        (dict(num_groups='2'), ValueError, "num_groups must be a whole number .* got '2'"),
        (dict(to=None), TypeError, 'to must be the name of a norm.* got None'),
        (dict(to=lambda channels: None), TypeError, r'<lambda>\(8\) must make a module, got None'),
        (
            dict(to=lambda channels: nn.GroupNorm(3, channels)),
            ValueError,
            r'1 \(BatchNorm2d\): <lambda>\(8\): num_channels',
        ),
    ],
)
def test_wrong_arguments_are_quoted_and_nothing_is_converted(options, error, match):
    model = conv_norm()
    with pytest.raises(error, match=match):
        convert_norms(model, **options)
    assert type(model[1]) is nn.BatchNorm2d


def test_the_table_does_not_promise_outputs_that_another_variance_changes():
    model = nn.Sequential(nn.InstanceNorm2d(8), nn.BatchNorm2d(8))
    first, second = (row for _, row in plan_conversion(model, correction=1).rows)
    assert 'outputs: with correction=1' in first.lost
    assert 'outputs' in second.kept


def test_a_class_of_layers_is_what_its_name_is():
    assert convert_norms(nn.BatchNorm2d(8), SSN).selected == ('BN', 'BN')


def test_layers_that_have_none_of_the_stated_normalizers_start_as_they_were():
    norm = nn.BatchNorm2d(8)
    norm(X)
    model = convert_norms(nn.Sequential(norm, nn.GroupNorm(1, 8)), start=dict(FBN=1))
    assert [layer.selected for layer in model] == [('FBN', 'FBN'), ('LN', 'LN')]
