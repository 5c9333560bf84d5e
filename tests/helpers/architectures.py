"""Networks of torchvision, timm and segmentation_models_pytorch, built without downloads."""

import copy
from collections import Counter

import torch

import ssn_mm
from ssn_mm.deploy import fold, freeze
from ssn_mm.layers import plan_conversion, switch_norms
from ssn_mm.layers.found_norm import find_norm

TORCHVISION = {
    'vgg11_bn': {},
    'resnet18': {},
    'resnext50_32x4d': {},
    'densenet121': {},
    'googlenet': dict(aux_logits=False, init_weights=False),
    'inception_v3': dict(aux_logits=False, init_weights=False),
    'mobilenet_v2': {},
    'mobilenet_v3_small': {},
    'mnasnet0_5': {},
    'shufflenet_v2_x0_5': {},
    'efficientnet_b0': {},
    'regnet_y_400mf': {},
    'fcn_resnet50': dict(weights_backbone=None),
    'lraspp_mobilenet_v3_large': dict(weights_backbone=None),
    'r3d_18': {},
}
TIMM = (
    *('efficientnet_lite0', 'resnetv2_50', 'resnet26d', 'skresnet18', 'resnest14d'),
    *('hrnet_w18_small', 'repvgg_a0', 'mobileone_s0', 'ghostnet_050', 'dla34', 'cspdarknet53'),
    *('levit_128s', 'efficientformer_l1', 'poolformer_s12', 'mobilevit_xxs', 'mixnet_s'),
    *('res2net50_14w_8s', 'ese_vovnet19b_dw'),
)
SELECTIONS = ('mix', 'IN', 'LN', 'BN', 'FBN', 'GN')  # a mix of all, or one for every layer
SMP = ('Unet', 'FPN', 'DeepLabV3Plus', 'PSPNet', 'MAnet', 'Linknet')
# shapes of inputs that networks ask for; the others see (3, 64, 64)
_SHAPES = {
    'inception_v3': (3, 80, 80),
    'r3d_18': (3, 4, 24, 24),
    'vgg11_bn': (3, 32, 32),
    'fcn_resnet50': (3, 32, 32),
    'levit_128s': (3, 224, 224),
    'efficientformer_l1': (3, 224, 224),
}


def names():
    """Library and architecture of every network that is checked."""
    libraries = {'torchvision': TORCHVISION, 'timm': TIMM, 'segmentation_models_pytorch': SMP}
    return [(library, name) for library, own in libraries.items() for name in own]


def build(library, name):
    """A network with random weights, in float64, and what it is called with."""
    torch.manual_seed(0)
    if library == 'torchvision':
        import torchvision

        model = torchvision.models.get_model(name, weights=None, **TORCHVISION[name])
    elif library == 'timm':
        import timm

        model = timm.create_model(name, pretrained=False)
    else:
        import segmentation_models_pytorch as smp

        model = getattr(smp, name)('resnet18', encoder_weights=None)
    inputs = torch.randn(2, *_SHAPES.get(name, (3, 64, 64)), dtype=torch.float64)
    return model.double(), inputs


@torch.no_grad()
def randomize(model):
    """Gives norms γ, β and running statistics that a trained network might have."""
    for module in model.modules():
        norm = find_norm(module)
        for key, t in (norm.tensors if norm else {}).items():
            if t.is_floating_point():
                t.uniform_(-0.2, 0.2) if key in ('bias', 'running_mean') else t.uniform_(0.6, 1.4)
            else:
                t.fill_(1)


def outputs(model, inputs):
    y = model(inputs)
    y = y['out'] if isinstance(y, dict) else y
    return y[0] if isinstance(y, tuple | list) else y


def distance(y, expected):
    """Largest difference, relative to the largest output."""
    return ((y - expected).abs().max() / expected.abs().max()).item()


def check(library, name, selections=SELECTIONS):
    """Converts, trains, selects, freezes and folds a network; returns what was found.

    Returns:
        ``norms`` by class; how many were ``converted``, are ``used`` in training and ``moved`` off
        their vertex in one step; and largest relative differences of outputs: what is ``kept``,
        ``frozen`` and ``folded``, the last two over all selections.
    """
    model, inputs = build(library, name)
    randomize(model)
    model.eval()
    with torch.no_grad():
        expected = outputs(model, inputs)
    plan = plan_conversion(model, unequal='leave')
    kinds = Counter(row.kind for _, row in plan.rows)
    model = plan.apply(model)
    layers = [layer for _, layer in switch_norms(model)]
    found = dict(norms=kinds, converted=len(layers))
    with torch.no_grad():
        found['kept'] = distance(outputs(model, inputs), expected)

    ssn_mm.let_go(model.train())
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    before = [layer.ratio_logits.detach().clone() for layer in layers]
    ssn_mm.set_radius(model, 0.1)
    outputs(model, inputs).square().mean().backward()
    optimizer.step()
    ssn_mm.keep_selected(model)
    moved = [
        not layer.ratio_logits.equal(logits) for layer, logits in zip(layers, before, strict=True)
    ]
    found |= dict(moved=sum(moved), used=sum(layer.weight.grad is not None for layer in layers))

    model.eval()
    found |= dict(frozen=0.0, folded=0.0)
    for selection in selections:
        _select(layers, selection)
        with torch.no_grad():
            expected = outputs(model, inputs)
            frozen = freeze(copy.deepcopy(model))
            found['frozen'] = max(found['frozen'], distance(outputs(frozen, inputs), expected))
            folded = fold(frozen, inputs)
            found['folded'] = max(found['folded'], distance(outputs(folded, inputs), expected))
    return found


@torch.no_grad()
def _select(layers, selection):
    """Layers select one normalizer, where they have it; or each row another one, as they fall."""
    torch.manual_seed(1)
    for layer in layers:
        k = len(layer.normalizers)
        logits = torch.stack([torch.randperm(k).double() for _ in range(2)])
        if selection in layer.normalizers:
            logits[:, layer.normalizers.index(selection)] = k
        layer.ratio_logits.copy_(logits)
        ssn_mm.set_radius(layer, 1.0)
