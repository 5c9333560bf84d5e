"""Folding an SSN as if it were batch norm raises an error."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.ao.quantization import fuse_modules
from torch.fx.experimental.optimization import fuse
from torch.nn.utils import fusion

from ssn_mm import SN, SSN
from ssn_mm.deploy import freeze
from ssn_mm.layers import MixedNorm, SyncSSN

LAYERS = {
    'SSN': lambda: SSN(4),
    'SN': lambda: SN(4),
    'SyncSSN': lambda: SyncSSN(4),
    'MixedNorm': lambda: MixedNorm(4, 'BN', 'LN'),
}
REFUSAL = 'is folded like batch norm, which it is not.*ssn_mm.deploy.freeze'


def by_hand(conv, norm):
    """Folds as networks do that fold layers of their own."""
    std = (norm.running_var + norm.eps).sqrt()
    scale = (norm.weight / std).reshape(-1, 1, 1, 1)
    return conv.weight * scale, norm.bias - norm.running_mean * norm.weight / std


FOLDS = {
    'fuse_conv_bn_eval': (nn.Conv2d(3, 4, 1), fusion.fuse_conv_bn_eval),
    'transposed': (nn.ConvTranspose2d(3, 4, 1), lambda c, n: fusion.fuse_conv_bn_eval(c, n, True)),
    'fuse_linear_bn_eval': (nn.Linear(3, 4), fusion.fuse_linear_bn_eval),
    'by hand': (nn.Conv2d(3, 4, 1), by_hand),
    'by hand, eps first': (nn.Conv2d(3, 4, 1), lambda _, n: torch.rsqrt(n.eps + n.running_var)),
    'by hand, in float64': (nn.Conv2d(3, 4, 1), lambda _, n: n.running_var.double() + n.eps),
    'by hand, of .data': (nn.Conv2d(3, 4, 1), lambda _, n: n.running_var.data.add(n.eps) ** -0.5),
}


@pytest.mark.parametrize('layer', LAYERS)
@pytest.mark.parametrize('fold', FOLDS)
def test_folding_a_layer_as_batch_norm_raises(layer, fold):
    before, function = FOLDS[fold]
    norm = LAYERS[layer]().eval()
    with pytest.raises(ValueError, match=f'{layer} {REFUSAL}'):
        function(before.eval(), norm)


def selected(*names):
    layer = SSN(4)
    rows = [layer.normalizers.index(name) for name in names]
    with torch.no_grad():
        layer.ratio_logits.copy_(torch.eye(3)[rows])
    layer(torch.randn(8, 4, 3, 3))
    return layer.eval()


def test_a_frozen_layer_that_selected_batch_norm_folds():
    conv, x = nn.Conv2d(3, 4, 1).eval(), torch.randn(2, 3, 5, 5)
    norm = freeze(nn.Sequential(selected('BN', 'BN')))[0]
    torch.testing.assert_close(fusion.fuse_conv_bn_eval(conv, norm)(x), norm(conv(x)))


def test_tools_that_fold_by_type_pass_by():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), selected('IN', 'BN')).eval()
    x = torch.randn(2, 3, 5, 5)
    torch.testing.assert_close(fuse(model)(x), model(x))
    with pytest.raises((NotImplementedError, AssertionError), match='SSN'):
        fuse_modules(model, ['0', '1'])


@pytest.mark.parametrize('layer', [SSN(4, eps=1e-3), MixedNorm(4, 'LN', 'IN', eps=1e-3)])
def test_eps_is_a_number_for_everything_else(layer):
    assert layer.eps == 1e-3
    assert f'eps={layer.eps}' in repr(layer)
    assert (layer.eps + 1, f'{layer.eps:.0e}') == (1.001, '1e-03')
    for eps in (pickle.loads(pickle.dumps(layer.eps)), copy.deepcopy(layer.eps)):
        assert (type(eps), eps) == (float, 1e-3)
    var = torch.rand(4)
    assert torch.equal(var + layer.eps, var + 1e-3)
    assert torch.equal(layer.running_var + float(layer.eps), layer.running_var + 1e-3)
    other = nn.BatchNorm2d(4, layer.eps)  # a conversion of somebody else's
    assert torch.equal(other.running_var + other.eps, torch.ones(4) + 1e-3)
    layer.eps = 0.5
    assert (layer.eps, copy.deepcopy(layer).eps) == (0.5, 0.5)


def test_a_changed_eps_is_used():
    layer, x = selected('BN', 'BN'), torch.randn(2, 4, 3, 3)
    layer.eps = 0.5
    plain = nn.BatchNorm2d(4, 0.5).eval()
    plain.load_state_dict({key: layer.state_dict()[key] for key in plain.state_dict()})
    torch.testing.assert_close(layer(x), plain(x))
