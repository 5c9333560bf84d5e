"""Networks of the three libraries in which a norm is its own activation, or standardizes."""

import mmaction.models  # noqa: F401, registers
import mmpretrain.models  # noqa: F401
import mmseg.models  # noqa: F401
import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from ssn_mm import convert_norms
from ssn_mm.contestants import arrange, find_contestant
from ssn_mm.contestants.neighbours import mark_activated
from ssn_mm.contestants.norms.filter_response_norm import FRN

HEAD = dict(in_channels=512, in_index=3, channels=16, num_classes=3)
RESNET = dict(type='ResNet', depth=18)


def decoded(head, backbone=RESNET, kind='EncoderDecoder', **more):
    return 'mmseg', dict(type=kind, backbone=backbone, decode_head=head, **more)


def classifier(**backbone):
    return 'mmpretrain', dict(type='ImageClassifier', backbone=backbone)


NETWORKS = {
    'tsm': (
        'mmaction',
        dict(
            type='Recognizer2D',
            backbone=dict(type='ResNetTSM', depth=18, num_segments=8, pretrained2d=False),
            cls_head=dict(type='TSMHead', num_classes=3, in_channels=512),
        ),
    ),
    'x3d': ('mmaction', dict(type='Recognizer3D', backbone=dict(type='X3D'))),
    'hrnet': classifier(type='HRNet', arch='w18'),
    'mobilenet': classifier(type='MobileNetV2'),
    'aspp': decoded(dict(HEAD, type='ASPPHead', dilations=(1, 6))),
    'psp': decoded(dict(HEAD, type='PSPHead', pool_scales=(1, 2))),
    'two heads': decoded(
        [dict(HEAD, type='FCNHead'), dict(HEAD, type='OCRHead', ocr_channels=16)],
        kind='CascadeEncoderDecoder',
        num_stages=2,
    ),
    'neck': decoded(
        dict(
            type='FPNHead',
            in_channels=[16] * 4,
            in_index=[0, 1, 2, 3],
            feature_strides=[4, 8, 16, 32],
            channels=16,
            num_classes=3,
        ),
        neck=dict(type='FPN', in_channels=[64, 128, 256, 512], out_channels=16, num_outs=4),
    ),
}


def built(scope, cfg, norm_cfg):
    def with_norm(part):
        if isinstance(part, list):
            return [with_norm(own) for own in part]
        takes = part['type'] not in ('FPN', 'TSMHead')
        return dict(part, norm_cfg=norm_cfg) if takes else dict(part)

    parts = {k: with_norm(v) for k, v in cfg.items() if isinstance(v, dict | list)}
    with DefaultScope.overwrite_default_scope(scope):
        return MODELS.build({**cfg, **parts})


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('name', NETWORKS)
def test_each_norm_of_a_network_activates_in_the_place_of_its_activation_or_not(name):
    model = built(*NETWORKS[name], dict(type='FRN'))
    norms = [module for module in model.modules() if type(module) is FRN]
    marks = [mark_activated in norm._forward_hooks.values() for norm in norms]
    assert len(norms) > 15
    assert [norm.tau is not None for norm in norms] == marks
    assert any(marks)


def test_norms_that_follow_no_convolution_are_told():
    with pytest.warns(UserWarning, match='62 norms that standardize the convolution before them'):
        built(*classifier(type='DenseNet', arch='121'), dict(type='GNWS', num_groups=2))


def test_any_network_is_converted_to_a_contestant_and_arranged():
    torchvision = pytest.importorskip('torchvision.models')
    net, x = torchvision.resnet18(), torch.randn(2, 3, 64, 64)
    convert_norms(net, to=find_contestant('FRN+TLU').build, unequal='even')
    done = arrange(net, x)
    assert len(done.spared) == 9
    assert len(done.without_activation) == 11
    assert net(x).shape == (2, 1000)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in net.modules())
