"""What torch's norms do and ours cannot, and what takes its place; docs/torch.md has the table."""

import copy

import pytest
import torch
from torch import nn
from torch.func import replace_all_batch_norm_modules_, vmap
from torch.optim import swa_utils

import ssn_mm
from ssn_mm import SN, SSN
from ssn_mm.deploy import freeze
from ssn_mm.layers import MixedNorm


def selected(*names, features=4):
    layer = SSN(features)
    with torch.no_grad():
        rows = [layer.normalizers.index(name) for name in names]
        layer.ratio_logits.copy_(torch.eye(3)[rows])
    return layer


# -- statistics of averaged weights ----------------------------------------------------------------


def statistics(norm, batches):
    """What a layer measures by the mean over batches."""
    means = torch.stack([x.mean((0, 2, 3)) for x in batches]).mean(0)
    variances = torch.stack([x.transpose(0, 1).flatten(1).var(1) for x in batches]).mean(0)
    return torch.equal(norm.num_batches_tracked, torch.tensor(len(batches))) and [
        torch.allclose(norm.running_mean, means, atol=1e-5),
        torch.allclose(norm.running_var, variances, atol=1e-5),
    ]


@pytest.mark.parametrize('layer', [SSN(4), SN(4), selected('BN', 'BN'), nn.BatchNorm2d(4)], ids=str)
def test_update_bn_measures_the_mean_of_all_batches(layer):
    batches = [torch.randn(8, 4, 3, 3) * scale + scale for scale in (1.0, 2, 5)]
    model = swa_utils.AveragedModel(nn.Sequential(copy.deepcopy(layer), nn.Dropout()))
    model.eval()
    model.module[1].train()
    for loader in (batches, [(x, None) for x in batches]):
        for update in (swa_utils.update_bn, ssn_mm.update_bn):
            model.module[0].running_mean.fill_(7)
            update(loader, model)
            assert statistics(model.module[0], batches) == [True, True]
            assert model.module[0].momentum == 0.1
            assert [m.training for m in model.module] == [False, True]


def test_update_bn_leaves_layers_alone_in_which_the_ratio_of_batch_norm_is_0():
    layers = [selected('IN', 'LN'), SSN(4, normalizers=('IN', 'LN'))]
    model = nn.Sequential(*layers, nn.BatchNorm2d(4))
    model[0].running_mean.fill_(7)
    ssn_mm.update_bn([torch.randn(8, 4, 3, 3)], model, device='cpu')
    assert (model[0].running_mean == 7).all()
    assert model[2].num_batches_tracked == 1
    ssn_mm.update_bn(None, nn.Sequential(*layers))  # as torch's, which asks for no batch


# -- torch.func ------------------------------------------------------------------------------------


def test_a_tool_that_stops_batch_norms_statistics_passes_by_and_an_argument_does_it():
    x, model = torch.randn(3, 5, 4, 2, 2), nn.Sequential(SSN(4))
    replace_all_batch_norm_modules_(model)  # which asks for the type of batch norm
    with pytest.raises(RuntimeError, match='vmap'):
        vmap(model)(x)
    layer = SSN(4, track_running_stats=False)
    torch.testing.assert_close(vmap(layer)(x), torch.stack([layer(part) for part in x]))


# -- programs --------------------------------------------------------------------------------------


@pytest.mark.parametrize('layer', [SSN(4), SN(4), MixedNorm(4, 'LN', 'BN')], ids=str)
def test_scripting_is_refused_and_tracing_is_not(layer):
    model, x = nn.Sequential(nn.Conv2d(3, 4, 1), layer).eval(), torch.randn(2, 3, 5, 5)
    with pytest.raises(TypeError, match=r'cannot be scripted. Use torch.jit.trace'):
        torch.jit.script(model)
    traced = torch.jit.trace(model, x)
    for program in (traced, torch.jit.freeze(traced)):
        torch.testing.assert_close(program(x), model(x))
    if isinstance(layer, SSN):
        plain = nn.Sequential(nn.Conv2d(3, 4, 1), selected('IN', 'IN')).eval()
        plain(x)  # tells the rank of its maps
        frozen = freeze(plain)
        torch.testing.assert_close(torch.jit.script(frozen)(x), frozen(x))


def test_eager_quantization_refuses_a_layer_between_quantized_ones_until_it_is_frozen():
    quantization = torch.ao.quantization
    for norm, kind in (
        (selected('BN', 'BN'), nn.BatchNorm2d),
        (selected('IN', 'IN'), nn.InstanceNorm2d),
    ):
        layers = (quantization.QuantStub(), nn.Conv2d(3, 4, 1), norm, quantization.DeQuantStub())
        model, x = nn.Sequential(*layers).eval(), torch.randn(2, 3, 5, 5)
        expected = model(x)
        for net in (copy.deepcopy(model), freeze(copy.deepcopy(model))):
            net.qconfig = quantization.get_default_qconfig()
            prepared = quantization.prepare(net)
            prepared(x)
            converted = quantization.convert(prepared)
            if isinstance(net[2], kind):
                torch.testing.assert_close(converted(x), expected, rtol=0.1, atol=0.1)
            else:
                with pytest.raises(TypeError, match='must be a floating-point tensor, got'):
                    converted(x)


def test_a_frozen_mixture_says_what_it_expects():
    layer = MixedNorm(4, 'LN', 'BN')
    for shape in ((2, 1, 3, 3), (4,), (4, 5)):
        with pytest.raises(ValueError, match=r'expected \(N, 4, \*spatial\), got'):
            layer(torch.randn(shape))
    with pytest.raises(TypeError, match=r'floating-point tensor, got torch\.int64'):
        layer(torch.ones(2, 4, 3, 3, dtype=torch.int64))
