"""A backbone of batch norm that goes on as SSN with FBN."""

import pytest
import torch
from mmengine.registry import MODELS

from ssn_mm import SN, SSN
from ssn_mm.layers import switch_norms
from ssn_mm.weights.pretrained import start_at_bn

NAMES = ('IN', 'LN', 'BN', 'FBN')


def resnet(norm_cfg, **options):
    pytest.importorskip('mmpretrain.models')
    sizes = dict(depth=18, stem_channels=8, base_channels=8)
    return MODELS.build(dict(type='mmpretrain.ResNet', norm_cfg=norm_cfg, **sizes, **options))


def test_a_pretrained_network_trains_by_the_statistics_that_it_brings(tmp_path):
    plain = resnet(dict(type='BN'))
    for _ in range(3):
        plain(torch.randn(8, 3, 64, 64))
    plain.eval()
    torch.save(plain.state_dict(), tmp_path / 'bn.pth')
    init = dict(type='Pretrained', checkpoint=str(tmp_path / 'bn.pth'), bn_ratio=0.8)
    net = resnet(dict(type='SSN', normalizers=NAMES), init_cfg=init)
    net.init_weights()
    layers = [layer for _, layer in switch_norms(net)]
    for layer in layers:
        torch.testing.assert_close(layer.ratios(), torch.tensor([[0.1, 0.1, 0.4, 0.4]] * 2))
        layer.ratio_logits.data.copy_(torch.eye(4)[[3, 3]])
    before = [layer.running_var.clone() for layer in layers]
    x = torch.randn(2, 3, 64, 64)
    y = net(x)[-1]  # in training, as the other in evaluation
    torch.testing.assert_close(y, plain(x)[-1], rtol=1e-4, atol=1e-5)
    assert all(map(torch.equal, before, [layer.running_var for layer in layers]))


@pytest.mark.parametrize('kind', [SSN, SN])
def test_bn_and_fbn_share_the_ratio_that_a_start_gives_them(kind):
    for names, expected in {
        ('FBN', 'IN', 'BN'): [0.3, 0.4, 0.3],
        ('FBN', 'LN', 'IN'): [0.6, 0.2, 0.2],
        ('FBN', 'BN'): [0.5, 0.5],
    }.items():
        layer = kind(8, names)
        start_at_bn(layer, 0.6)
        torch.testing.assert_close(layer.ratios(), torch.tensor([expected] * 2))
    with pytest.raises(ValueError, match=r"bn_ratio=0\.6, but the normalizers are \('IN', 'LN'\)"):
        start_at_bn(kind(8, ('IN', 'LN')), 0.6)
