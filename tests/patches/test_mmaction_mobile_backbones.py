"""TSM's MobileNetV2 and MobileOne, as mmaction2's stock configs have them, started from 2D ones."""

from importlib.util import find_spec
from pathlib import Path

import mmaction.models  # noqa: F401  registers
import mmpretrain.models
import pytest
import torch
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope

from ssn_mm.layers import SwitchNorm

STOCK = Path(find_spec('mmaction').origin).parent / '.mim/configs/_base_/models'
SMALL = dict(
    num_blocks=[1, 1, 1, 1],
    width_factor=[0.5, 0.5, 0.5, 0.5],
    num_conv_branches=[1, 1, 1, 1],
    num_se_blocks=[0, 0, 0, 1],
)
FLAT = {
    'mobilenet_v2': lambda norm: mmpretrain.models.MobileNetV2(norm_cfg=dict(type=norm)),
    'mobileone_s4': lambda norm: mmpretrain.models.MobileOne(SMALL, norm_cfg=dict(type=norm)),
}


def flat(name, norm):
    """A 2D network whose every parameter and statistic differs from its start."""
    torch.manual_seed(0)
    net = FLAT[name](norm)
    for key, value in (*net.named_parameters(), *net.named_buffers()):
        if key.endswith(('running_mean', 'bias', 'ratio_logits')):
            value.data.normal_()
        elif value.dim() == 1:
            value.data.uniform_(0.5, 1)
    return net


def backbone(name, file, **options):
    """The stock config's, with SSN."""
    cfg = Config.fromfile(STOCK / f'tsm_{name}.py').model.backbone
    cfg.norm_cfg = dict(type='SSN')
    if name == 'mobilenet_v2':
        cfg.pretrained = file
    else:
        cfg.arch = SMALL
        cfg.init_cfg.checkpoint = file
    cfg.update(options)
    with DefaultScope.overwrite_default_scope('mmaction'):
        return MODELS.build(cfg)


def save(net, path, prefix):
    state = {f'{prefix}{key}': value for key, value in net.state_dict().items()}
    torch.save({'state_dict': state}, path)
    return str(path)


@pytest.mark.parametrize('name', FLAT)
@pytest.mark.parametrize('norm', ['BN', 'SN', 'SSN'])
def test_every_layer_of_the_stock_backbone_starts_from_the_2d_one(tmp_path, name, norm):
    source = flat(name, norm)
    prefix = '' if (name, norm) == ('mobilenet_v2', 'BN') else 'backbone.'
    net = backbone(name, save(source, tmp_path / '2d.pth', prefix))
    net.init_weights()
    own = {key.replace('.net.', '.'): value for key, value in net.state_dict().items()}
    assert any('.net.' in key for key in net.state_dict())
    for key, value in source.state_dict().items():
        if not key.endswith(('ratio_logits', 'radius', 'normalizer_codes')):
            assert torch.equal(own[key], value), key
    theirs = dict(source.named_modules())
    layers = {n.replace('.net.', '.'): m for n, m in net.named_modules()}
    for layer, found in layers.items():
        if isinstance(found, SwitchNorm):
            equal = torch.full((2, 3), 1 / 3) if norm == 'BN' else theirs[layer].ratios()
            torch.testing.assert_close(found.ratios(), equal)
    assert net(torch.randn(8, 3, 32, 32)).shape[0] == 8


@pytest.mark.parametrize('name', FLAT)
def test_a_checkpoint_of_something_else_is_refused(tmp_path, name):
    torch.save({'state_dict': {'backbone.fc.weight': torch.zeros(2)}}, tmp_path / 'other.pth')
    with pytest.raises(ValueError, match='the checkpoint has nothing for this network'):
        backbone(name, str(tmp_path / 'other.pth')).init_weights()


@pytest.mark.parametrize('name', FLAT)
def test_one_of_clips_starts_from_another_and_without_a_checkpoint_from_noise(tmp_path, name):
    none = dict(pretrained=None) if name == 'mobilenet_v2' else dict(init_cfg=None)
    source = backbone(name, None, **none)
    source.init_weights()
    weight = next(iter(source.parameters()))
    assert weight.std() > 0
    file = save(source, tmp_path / 'tsm.pth', 'backbone.')
    for options in ({}, dict(pretrained2d=False)):
        net = backbone(name, file, **options)
        net.init_weights()
        for key, value in source.state_dict().items():
            assert torch.equal(net.state_dict()[key], value), key
