"""Small backbones of the three libraries with any norm, and other norms to stand among theirs."""

import mmaction.models
import mmpretrain.models
import mmseg.models
import torch
from mmengine.registry import DefaultScope
from torch import nn

from ssn_mm import SN, SSN
from ssn_mm.layers import MixedNorm, switch_norms

FRAMES, CLIPS = (4, 3, 32, 32), (2, 3, 4, 32, 32)
SMALL = dict(depth=18, base_channels=8)
NETWORKS = {
    'mmseg': (mmseg.models.ResNet, dict(SMALL, stem_channels=8), FRAMES),
    'mmpretrain': (mmpretrain.models.ResNet, dict(SMALL, stem_channels=8), FRAMES),
    'tsn': (mmaction.models.ResNet, dict(depth=18), FRAMES),
    'tsm': (mmaction.models.ResNetTSM, dict(depth=18, num_segments=4, pretrained2d=False), FRAMES),
    'i3d': (mmaction.models.ResNet3d, dict(SMALL, pretrained=None, pretrained2d=False), CLIPS),
    'x3d': (mmaction.models.X3D, dict(), CLIPS),
    'audio': (mmaction.models.ResNetAudio, dict(depth=50, pretrained=None), (4, 1, 32, 32)),
    'csn': (mmaction.models.ResNet3dCSN, dict(SMALL, depth=50, pretrained=None), CLIPS),
}


def network(name, norm='SSN', **options):
    kind, own, shape = NETWORKS[name]
    norms = {'BN': 'BN3d' if name in ('i3d', 'x3d', 'csn') else 'BN'}
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(kind.__module__.partition('.')[0]):
        model = kind(norm_cfg=dict(type=norms.get(norm, norm)), **own, **options)
    return model, torch.randn(shape)


def layers_of(model):
    return [layer for _, layer in switch_norms(model)]


def statistics(model):
    return {n: b.clone() for n, b in model.named_buffers() if 'running' in n}


@torch.no_grad()
def select(model, *selections):
    """Layer i selects normalizers ``selections[i]`` out of IN, LN, BN for mean and variance."""
    for i, layer in enumerate(layers_of(model)):
        layer.ratio_logits.copy_(torch.eye(3)[list(selections[i % len(selections)])])


def learn(model, x, lr=0.1):
    """One step of training; returns the last map."""
    y = model(x)
    y = y[-1] if isinstance(y, tuple) else y
    y.square().mean().backward()
    torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr).step()
    return y


NORMS = {
    'SSN': lambda: SSN(6),
    'SN': lambda: SN(6),
    'MixedNorm': lambda: MixedNorm(6, 'LN', 'BN'),
    'GN': lambda: nn.GroupNorm(2, 6),
    'IN': lambda: nn.InstanceNorm2d(6, affine=True),
}


@torch.no_grad()
def measured(model, x):
    """With statistics that differ from a fresh layer's, in evaluation mode."""
    for _ in range(3):
        model(x)
    model.eval()  # which returns None in most backbones
    return model
