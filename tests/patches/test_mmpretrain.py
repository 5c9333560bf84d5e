"""mmpretrain's networks that fold, drop or read batch norm, with SSN in its place."""

import copy
import random

import cv2
import mmpretrain.models
import numpy as np
import pytest
import torch
from stock_networks import NORMS, measured, select
from torch import nn

from ssn_mm import SSN


def folds():
    """Functions of the libraries that fold a norm, each with what is folded into."""
    from mmcv.cnn.bricks import conv_module
    from mmcv.cnn.utils.fuse_conv_bn import _fuse_conv_bn
    from mmengine.model import efficient_conv_bn_eval
    from mmpretrain.models.backbones import levit, replknet, repmlp
    from mmpretrain.models.heads import levit_head

    def by_levit(conv, norm):
        block = levit.LinearBatchNorm(3, 6)
        block.bn = norm
        block.fuse()

    def by_levits_head(conv, norm):
        block = levit_head.BatchNormLinear(6, 2)
        block.bn = norm
        block.fuse()

    image = torch.randn(2, 3, 4, 4)
    return {
        'mmcv': _fuse_conv_bn,
        'mmcv efficient': lambda c, n: conv_module.efficient_conv_bn_eval_forward(n, c, image),
        'mmengine': lambda c, n: efficient_conv_bn_eval.efficient_conv_bn_eval_forward(n, c, image),
        'RepLKNet': replknet.fuse_bn,
        'RepMLP': repmlp.fuse_bn,
        'LeViT': by_levit,
        'its head': by_levits_head,
    }


@pytest.mark.parametrize('norm', ['SSN', 'SN', 'MixedNorm'])
def test_a_network_that_folds_its_own_norms_refuses_ours(norm):
    for name, fold in folds().items():
        conv = nn.Conv2d(3, 6, 1)
        fold(conv, nn.BatchNorm2d(6).eval())
        with pytest.raises(ValueError, match=f'{norm} is folded like batch norm, which it is not'):
            pytest.fail(f'{name}: {fold(nn.Conv2d(3, 6, 1), NORMS[norm]().eval())}')


@pytest.mark.parametrize('norm', NORMS)
def test_levit_drops_no_norm_that_was_not_folded(norm):
    from mmpretrain.models.backbones.levit import ConvolutionBatchNorm

    block, x = ConvolutionBatchNorm(3, 6).eval(), torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(copy.deepcopy(block).fuse()(x), block(x))
    block.bn = NORMS[norm]()
    with pytest.raises(ValueError, match=f'LeViT would drop its {type(block.bn).__name__}'):
        block.fuse()


@pytest.mark.parametrize('kind', ['RepVGG', 'MobileOne'])
def test_a_network_that_merges_its_branches_refuses_ssn(kind):
    arch = dict(RepVGG='A0', MobileOne='s0')[kind]
    model = getattr(mmpretrain.models, kind)(arch, norm_cfg=dict(type='SSN'))
    model.eval()
    with pytest.raises(AssertionError, match='Switch is not allowed when norm_cfg'):
        model.switch_to_deploy()


@pytest.mark.parametrize('norm', ['SSN', 'BN', 'GN'])
def test_riformer_keeps_what_its_norms_have_learned(norm):
    from mmpretrain.models.backbones.riformer import RIFormerBlock

    options = dict(num_groups=1) if norm == 'GN' else {}
    block = RIFormerBlock(6, norm_cfg=dict(type=norm, **options), layer_scale_init_value=1.0)
    select(block, (0, 2))
    for norm in (block.norm1, block.norm2):
        nn.init.normal_(norm.weight)
    nn.init.normal_(block.token_mixer.affine.weight)
    x = torch.randn(4, 6, 8, 8) * 3 + 1
    block = measured(block, x) or block
    block.eval()
    expected = block(x)
    block.switch_to_deploy()
    torch.testing.assert_close(block(x), expected, rtol=1e-4, atol=1e-4)


def test_a_sparse_network_for_masked_pretraining_refuses_ssn():
    with pytest.raises(ValueError, match='SparseResNet normalizes what its mask leaves, which SSN'):
        mmpretrain.models.SparseResNet(18, norm_cfg=dict(type='SSN'))


def test_shufflenets_first_biases_are_those_beside_batch_norm():
    from mmpretrain.models import ShuffleNetV1

    found = []
    for norm in ('BN', 'SSN'):
        model = ShuffleNetV1(norm_cfg=dict(type=norm))
        model.init_weights()
        kinds = (nn.BatchNorm2d, SSN)
        found.append([m.bias.detach() for m in model.modules() if isinstance(m, kinds)])
    assert found[0][0].unique().tolist() == [pytest.approx(1e-4)]
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


def picture(hue, code):
    """All of one hue, in OpenCV's units, saturated and bright."""
    hsv = np.array([[[hue, 255, 255]]], np.uint8).repeat(4, 0).repeat(4, 1)
    return cv2.cvtColor(hsv, code)


def test_mmpretrains_jitter_turns_hues_both_ways():
    from mmpretrain.datasets import ColorJitter

    jitter = ColorJitter(brightness=0.0, contrast=0.0, saturation=0.0, hue=0.4)
    image = picture(50, cv2.COLOR_HSV2BGR_FULL)
    turned = []
    for seed in range(8):
        random.seed(seed), np.random.seed(seed)
        found = jitter.transform(dict(img=image.copy()))['img']
        turned.append(int(cv2.cvtColor(found, cv2.COLOR_BGR2HSV_FULL)[0, 0, 0]) - 50)
    signs = {np.sign((turn + 128) % 256 - 128) for turn in turned}
    assert signs >= {-1, 1}
