"""2D ResNets with any norm as the start of mmaction2's 3D networks."""

import logging

import pytest
import torch
from mmengine.logging import MMLogger
from mmpretrain.models import ResNet
from torch import nn
from torch.nn.functional import one_hot

pytestmark = pytest.mark.mmaction

NORMS = {
    'BN': (dict(type='BN'), dict(type='BN3d')),
    'IN': (dict(type='IN', affine=True), dict(type='IN3d', affine=True)),
    'GN': (dict(type='GN', num_groups=4),) * 2,
    'SN': (dict(type='SN'),) * 2,
    'SSN': (dict(type='SSN'),) * 2,
    'four': (dict(type='SSN', normalizers=('IN', 'LN', 'BN', 'GN'), num_groups=4),) * 2,
}


def resnet2d(norm, depth=18):
    """A network whose every parameter and statistic differs from its start."""
    net = ResNet(depth, base_channels=8, stem_channels=8, norm_cfg=NORMS[norm][0])
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            continue
        logits = getattr(module, 'ratio_logits', None)
        for name, value in (*module.named_parameters(recurse=False), *module.named_buffers()):
            if name in ('weight', 'running_var'):
                value.data.uniform_(0.2, 1)
            elif name in ('bias', 'running_mean'):
                value.data.normal_(0, 0.1)
        if logits is not None and norm == 'SN':
            logits.data.normal_()
        elif logits is not None:
            vertices = one_hot(torch.randint(logits.size(1), (2,)), logits.size(1))
            logits.data.copy_(vertices)
            module.radius.fill_(1)
    return net


def resnet3d(norm, checkpoint, depth=18, pathway=False):
    from mmaction.models.backbones.resnet3d import ResNet3d
    from mmaction.models.backbones.resnet3d_slowfast import ResNet3dPathway

    # frames do not mix but in SlowFast's, so that each is a picture of its own
    net = (ResNet3dPathway if pathway else ResNet3d)(
        depth=depth,
        base_channels=8,
        pretrained=str(checkpoint),
        conv1_kernel=(1, 7, 7),
        conv1_stride_t=1,
        pool1_stride_t=1,
        with_pool2=False,
        inflate=0,
        norm_cfg=NORMS[norm][1],
        norm_eval=False,
        zero_init_residual=False,
        **(dict(lateral=False) if pathway else {}),
    )
    net.init_weights()
    return net


def save(net, path, prefix='backbone.'):
    state = {f'{prefix}{k}': v for k, v in net.state_dict().items()}
    torch.save({'state_dict': state, 'meta': {}} if prefix else state, path)
    return path


def layers(net):
    return [m for m in net.modules() if hasattr(m, 'ratio_logits')]


@pytest.mark.parametrize(('norm', 'depth'), [*((norm, 18) for norm in NORMS), ('SSN', 50)])
def test_a_still_video_gives_what_its_picture_gives(tmp_path, norm, depth):
    flat = resnet2d(norm, depth)
    deep = resnet3d(norm, save(flat, tmp_path / '2d.pth'), depth)
    flat.eval()
    deep.eval()
    picture = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        (expected,) = flat(picture)
        y = deep(picture[:, :, None].expand(-1, -1, 4, -1, -1))
    torch.testing.assert_close(y, expected[:, :, None].expand_as(y), atol=1e-4, rtol=1e-4)
    assert y.std() > 0.01
    assert all(layer.radius == 0 for layer in layers(deep) if norm != 'SN')  # a training's own


@pytest.mark.parametrize('prefix', ['', 'backbone.'], ids=['torchvision', 'mmpretrain'])
@pytest.mark.parametrize('norm', ['SN', 'SSN'])
@pytest.mark.parametrize('pathway', [False, True], ids=['ResNet3d', 'SlowFast'])
def test_ssn_starts_from_batch_norm_with_equal_ratios(tmp_path, norm, prefix, pathway):
    flat = resnet2d('BN')
    path = save(flat, tmp_path / '2d.pth', prefix if not pathway else '')
    deep = resnet3d(norm, path, pathway=pathway)
    found = layers(deep)
    assert len(found) == 20
    for layer, bn in zip(found[:1], [flat.bn1], strict=True):
        for name in ('weight', 'bias', 'running_mean', 'running_var'):
            assert torch.equal(getattr(layer, name), getattr(bn, name)), name
    assert all((layer.ratio_logits == 1).all() for layer in found)
    assert torch.equal(deep.layer4[1].conv2.bn.weight, flat.layer4[1].bn2.weight)
    assert torch.equal(deep.layer2[0].downsample.bn.bias, flat.layer2[0].downsample[1].bias)


def test_a_network_of_learned_ratios_starts_ssn(tmp_path):
    flat = resnet2d('SN')
    deep = resnet3d('SSN', save(flat, tmp_path / '2d.pth'))
    for ours, theirs in ((deep.layer4[1].conv2.bn, flat.layer4[1].bn2), (deep.conv1.bn, flat.bn1)):
        torch.testing.assert_close(ours.ratios(), theirs.ratios())
        assert ours.radius == 0


def test_kernels_of_several_frames_share_the_weight(tmp_path):
    from mmaction.models.backbones.resnet3d import ResNet3d

    flat = resnet2d('SSN')
    deep = ResNet3d(
        18, pretrained=str(save(flat, tmp_path / '2d.pth')), base_channels=8,
        norm_cfg=dict(type='SSN'), zero_init_residual=False, conv1_kernel=(5, 7, 7),
    )  # fmt: skip
    deep.init_weights()
    torch.testing.assert_close(deep.conv1.conv.weight.sum(2), flat.conv1.weight)


@pytest.fixture
def said(monkeypatch):
    """What the loaders log."""
    lines = []
    monkeypatch.setattr(MMLogger, 'log', lambda self, level, text, *_: lines.append((level, text)))
    return lines


def test_other_normalizers_than_the_checkpoints_are_refused_or_of_an_old_one_warned_of(
    tmp_path, said
):
    flat = resnet2d('SSN')
    with pytest.raises(RuntimeError, match=r'for the normalizers IN, LN, BN, .* IN, LN, BN, GN'):
        resnet3d('four', save(flat, tmp_path / '2d.pth'))
    for layer in flat.modules():
        layer._buffers.pop('normalizer_codes', None)
    deep = resnet3d('four', save(flat, tmp_path / 'old.pth'))
    level, text = said[-1]
    assert level == logging.WARNING
    assert 'conv1.bn.ratio_logits does not fit: (2, 3) in the checkpoint, (2, 4) in the' in text
    assert (deep.conv1.bn.ratio_logits == 1).all()


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    torch.save({'state_dict': {'head.fc.weight': torch.zeros(2)}}, tmp_path / 'head.pth')
    with pytest.raises(ValueError, match=r"first names are \['head.fc.weight'\]"):
        resnet3d('SSN', tmp_path / 'head.pth')


def test_what_the_checkpoint_lacks_is_logged(tmp_path, said):
    resnet3d('SSN', save(resnet2d('SSN'), tmp_path / '18.pth'), depth=34)
    _, text = said[-1]
    assert '160 tensors loaded; ' in text
    assert 'layer1.2.conv1' in text
    assert 'layer1.0.conv1' not in text
