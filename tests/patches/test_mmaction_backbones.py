"""mmaction2's backbones that change a ResNet's layers, started from 2D ResNets."""

import pytest
import torch
import torchvision
from mmpretrain.models import ResNet
from torch import nn

from ssn_mm.layers import SwitchNorm

pytestmark = pytest.mark.mmaction

SMALL = dict(depth=18, norm_cfg=dict(type='SSN'))
THIN = dict(base_channels=8, zero_init_residual=False, **SMALL)
PATHS = dict(conv1_kernel=(1, 7, 7), conv1_stride_t=1, pool1_stride_t=1)


def resnet2d(base_channels, depth):
    """A network whose every parameter and statistic differs from its start."""
    options = dict(base_channels=base_channels, stem_channels=base_channels)
    flat = ResNet(depth, norm_cfg=dict(type='SN'), **options)
    for name, value in (*flat.named_parameters(), *flat.named_buffers()):
        if name.endswith(('running_mean', 'bias', 'ratio_logits')):
            value.data.normal_()
        elif 'conv' not in name and name.endswith(('weight', 'running_var')):
            value.data.uniform_(0.5, 1)
    return flat


def authors(state):
    """A state under the authors' names, in their shapes."""
    found = {}
    for key, value in state.items():
        layer, _, kind = key.rpartition('.')
        is_norm, layer = f'{layer}.ratio_logits' in state, f'module.{layer.replace("bn", "sn")}'
        if kind == 'ratio_logits':
            found |= {f'{layer}.mean_weight': value[0], f'{layer}.var_weight': value[1]}
        elif kind != 'num_batches_tracked':
            dims = {'weight': (1, -1, 1, 1), 'bias': (1, -1, 1, 1)}.get(kind, (1, -1, 1))
            found[f'{layer}.{kind}'] = value.view(dims) if is_norm else value
    return found


def save(state, path):
    torch.save({'state_dict': state}, path)
    return str(path)


def tsm(path, **options):
    from mmaction.models.backbones.resnet_tsm import ResNetTSM

    net = ResNetTSM(**SMALL, **(dict(pretrained=path) | options))
    return net, net


def tsm_of_blocks(path):
    return tsm(path, shift_place='block', temporal_pool=True)


def tsm_by_init_cfg(path):
    return tsm(path, pretrained=None, init_cfg=dict(type='Pretrained', checkpoint=path))


def tin(path):
    from mmaction.models.backbones.resnet_tin import ResNetTIN

    net = ResNetTIN(**SMALL, pretrained=path)
    return net, net


def slow_only(path):
    from mmaction.models.backbones.resnet3d_slowonly import ResNet3dSlowOnly

    net = ResNet3dSlowOnly(pretrained=path, **THIN)
    return net, net


def slow_fast(path):
    """A network of two paths, and its slow one, into which the fast one joins."""
    from mmaction.models.backbones.resnet3d_slowfast import ResNet3dSlowFast

    shared = dict(type='resnet3d', **PATHS, **THIN) | dict(depth=50)  # what laterals are made for
    slow = shared | dict(pretrained=path, lateral=True)
    fast = shared | dict(pretrained=None, lateral=False, base_channels=1)
    net = ResNet3dSlowFast(slow_pathway=slow, fast_pathway=fast)
    return net, net.slow_path


NAMES = {
    'torchvision': lambda state: state,
    'mmpretrain': lambda state: {f'backbone.{key}': value for key, value in state.items()},
    'authors': authors,
}
CASES = [
    *((backbone, names) for backbone in (tsm, slow_only, slow_fast) for names in NAMES),
    *((backbone, 'mmpretrain') for backbone in (tsm_of_blocks, tsm_by_init_cfg, tin)),
]


@pytest.mark.parametrize(('backbone', 'names'), CASES)
def test_every_layer_of_the_backbone_starts_from_the_2d_one(tmp_path, backbone, names):
    thin = backbone in (slow_only, slow_fast)  # the others' width is fixed
    flat = resnet2d(8 if thin else 64, 50 if backbone is slow_fast else 18)
    net, filled = backbone(save(NAMES[names](flat.state_dict()), tmp_path / '2d.pth'))
    net.init_weights()
    norms = {name: m for name, m in filled.named_modules() if isinstance(m, SwitchNorm)}
    assert len(norms) == (53 if backbone is slow_fast else 20)
    for name, norm in norms.items():
        found = first(flat, name)
        for kind in ('weight', 'bias', 'running_mean', 'running_var'):
            assert torch.equal(getattr(norm, kind), getattr(found, kind)), (name, kind)
        torch.testing.assert_close(norm.ratios(), found.ratios(), msg=name)
        assert norm.radius == 0
        assert norm.correction == (names == 'authors')
    convs = {n: m for n, m in filled.named_modules() if isinstance(m, nn.Conv2d | nn.Conv3d)}
    for name, conv in convs.items():
        if 'lateral' not in name:
            ours, own = conv.weight, first(flat, name).weight
            whole = ours.sum(2) if ours.dim() == 5 else ours
            torch.testing.assert_close(whole[:, : own.size(1)], own, msg=name)
            assert not whole[:, own.size(1) :].any()


def first(flat, name):
    """The 2D layer that has the place of a backbone's."""
    for wrapped in ('.net2', '.net'):
        name = name.replace(wrapped, '')
    name = name.replace('downsample.conv', 'downsample.0').replace('downsample.bn', 'downsample.1')
    stem, _, kind = name.rpartition('.')
    if kind == 'conv':
        name = stem
    elif kind == 'bn':
        name = stem.replace('conv', 'bn')
    return flat.get_submodule(name)


@pytest.mark.parametrize('backbone', [tsm, slow_only, slow_fast], ids=lambda build: build.__name__)
def test_a_checkpoint_of_something_else_is_refused(tmp_path, backbone):
    net, _ = backbone(save({'head.weight': torch.zeros(2)}, tmp_path / 'head.pth'))
    with pytest.raises(ValueError, match='the checkpoint has nothing for this network'):
        net.init_weights()


def test_a_tsm_starts_from_another_and_without_a_checkpoint_from_noise(tmp_path):
    source, _ = tsm(None)
    source.init_weights()
    nn.init.normal_(source.layer2[1].conv1.conv.net.weight)
    other, _ = tsm(save(source.state_dict(), tmp_path / 'tsm.pth'))
    other.init_weights()
    for key, value in source.state_dict().items():
        assert torch.equal(other.state_dict()[key], value), key


def test_two_dimensional_resnets_of_mmaction_start_from_torchvisions_names(tmp_path):
    from mmaction.models.backbones.resnet import ResNet as Resnet2d

    flat = torchvision.models.resnet18()
    nn.init.uniform_(flat.layer2[0].downsample[1].running_var)
    path = save(flat.state_dict(), tmp_path / '2d.pth')
    net = Resnet2d(18, pretrained=path, norm_cfg=dict(type='SSN'))
    net.init_weights()
    found = net.layer2[0].downsample.bn.running_var
    assert torch.equal(found, flat.layer2[0].downsample[1].running_var)
    assert torch.equal(net.layer4[1].conv2.conv.weight, flat.layer4[1].conv2.weight)


def test_an_init_cfg_is_not_passed_over(tmp_path):
    from mmaction.models.backbones.resnet3d import ResNet3d

    flat = resnet2d(8, 18)
    checkpoint = save(flat.state_dict(), tmp_path / '2d.pth')
    init_cfg = dict(type='Pretrained', checkpoint=checkpoint)
    net = ResNet3d(18, None, base_channels=8, norm_cfg=dict(type='SN'), init_cfg=init_cfg,
                   zero_init_residual=False)  # fmt: skip
    net.init_weights()
    assert torch.equal(net.conv1.bn.ratio_logits, flat.bn1.ratio_logits)
