"""Stock models of the three libraries beside the same models with SSN; docs/openmmlab.md."""

import copy
import importlib
import inspect
import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from torch.nn.modules.batchnorm import _BatchNorm

from ssn_mm.layers import SwitchNorm

NORMS = ('BN', 'BN1d', 'BN2d', 'BN3d', 'SyncBN')
SIZES = {'depth', 'arch', 'num_classes', 'in_channels', 'channels', 'mean', 'std', 'img_size'}
FIRST = {  # of each library, a model whose norms are treated in its own way
    'mmaction': [
        'recognition/csn/ircsn_ig65m-pretrained-r50-bnfrozen_8xb12-32x2x1-58e_kinetics400-rgb.py',
        'recognition/tsn/tsn_imagenet-pretrained-r50_8xb32-1x1x3-100e_kinetics400-rgb.py',
        'recognition/tsm/tsm_imagenet-pretrained-r50_8xb16-1x1x8-50e_kinetics400-rgb.py',
    ],
    'mmseg': ['mobilenet_v2/mobilenet-v2-d8_fcn_4xb2-80k_cityscapes-512x1024.py'],
    'mmpretrain': ['shufflenet_v1/shufflenet-v1-1x_16xb64_in1k.py'],
}


def folder(library):
    return Path(find_spec(library).origin).parent / '.mim/configs'


def shape_of(node):
    """What tells one kind of model from another: all but sizes."""
    if isinstance(node, dict):
        return {k: shape_of(v) for k, v in node.items() if k not in SIZES and 'loss' not in k}
    if isinstance(node, list | tuple):
        return [shape_of(item) for item in node if isinstance(item, dict | list)][:3]
    return node if isinstance(node, str | bool) or node is None else 'number'


def kinds(library):
    """One stock config of each kind of model, with how it is optimized."""
    found = {}
    for file in sorted(folder(library).rglob('*.py')):
        if '_base_' in file.parts:
            continue
        try:
            cfg = Config.fromfile(file)
        except (KeyError, ImportError, AttributeError, RuntimeError):  # of what is not here
            continue
        if cfg.get('model'):
            optim = cfg.get('optim_wrapper') or {}
            key = (
                shape_of(cfg.model.to_dict()),
                optim.get('paramwise_cfg'),
                optim.get('constructor'),
            )
            found.setdefault(json.dumps(key, default=str, sort_keys=True), file)
    return found.values()


def without_files(node):
    if isinstance(node, dict):
        own = {k: without_files(v) for k, v in node.items()}
        for key in ('pretrained', 'pretrain_2d'):
            if isinstance(own.get(key), str):
                own[key] = None
        if (own.get('init_cfg') or {}) and 'checkpoint' in own['init_cfg']:
            own['init_cfg'] = None
        return own
    return [without_files(item) for item in node] if isinstance(node, list | tuple) else node


def with_ssn(node, registry):
    """The config with SSN in batch norm's place, also where that is a class's default."""
    if isinstance(node, list):
        return [with_ssn(item, registry) for item in node]
    if not isinstance(node, dict):
        return node
    if node.get('type') in NORMS:
        kept = ('requires_grad', 'eps', 'momentum')
        return dict(type='SSN', **{k: v for k, v in node.items() if k in kept})
    own = {key: with_ssn(value, registry) for key, value in node.items()}
    kind = registry.get(node['type']) if isinstance(node.get('type'), str) else None
    if inspect.isclass(kind) and 'norm_cfg' not in node:
        given = inspect.signature(kind.__init__).parameters.get('norm_cfg')
        default = given.default if given else None
        if isinstance(default, dict) and default.get('type') in NORMS:
            own['norm_cfg'] = with_ssn(dict(default), registry)
    return own


def build(library, cfg, registry):
    """On the meta device, norms excepted, whose initial values are compared."""
    with DefaultScope.overwrite_default_scope(library), torch.device('meta'):
        model = registry.build(copy.deepcopy(cfg))
    for norm in model.modules():
        if isinstance(norm, SwitchNorm | _BatchNorm):
            norm.to_empty(device='cpu')
            norm.reset_parameters()
    with DefaultScope.overwrite_default_scope(library):
        model.init_weights()
    for mode in (True, False, True):
        model.train(mode)
    return model


def rates(library, model, optim_wrapper, ours):
    """Learning rate and decay of each parameter, by name."""
    cfg = dict(type='OptimWrapper', optimizer=optim_wrapper['optimizer'])
    for key in ('paramwise_cfg', 'constructor'):
        if optim_wrapper.get(key):
            cfg[key] = copy.deepcopy(optim_wrapper[key])
    if ours:
        base = cfg.pop('constructor', None)
        cfg['constructor'] = 'SSNOptimWrapperConstructor'
        if base:
            cfg['paramwise_cfg'] = dict(cfg.get('paramwise_cfg') or {}, base=base)
    with DefaultScope.overwrite_default_scope(library):
        wrapper = build_optim_wrapper(model, cfg)
    names = {id(param): name for name, param in model.named_parameters()}
    return {
        names[id(param)]: (group['lr'], group.get('weight_decay'))
        for group in wrapper.optimizer.param_groups
        for param in group['params']
    }


def differences(library, file):
    """What differs in a stock model with SSN; None if it has no norm that a config reaches."""
    importlib.import_module(f'{library}.utils').register_all_modules()
    registry = importlib.import_module(f'{library}.registry').MODELS
    cfg = Config.fromfile(file)
    plain_cfg = without_files(cfg.model.to_dict())
    with DefaultScope.overwrite_default_scope(library):
        ssn_cfg = with_ssn(plain_cfg, registry)
    plain, switched = (build(library, own, registry) for own in (plain_cfg, ssn_cfg))
    norms = {n: m for n, m in switched.named_modules() if isinstance(m, SwitchNorm)}
    if not norms:
        return None
    theirs, parameters = dict(plain.named_modules()), dict(switched.named_parameters())
    found = [n for n, m in norms.items() if m.training != theirs[n].training]
    for name, norm in norms.items():
        for kind in ('weight', 'bias', 'running_mean', 'running_var'):
            if not torch.equal(getattr(norm, kind), getattr(theirs[name], kind)):
                found.append(f'{name}.{kind}')
    for name, param in plain.named_parameters():
        if parameters[name].requires_grad != param.requires_grad:
            found.append(name)
    if cfg.get('optim_wrapper'):
        own, ours = (
            rates(library, model, cfg.optim_wrapper.to_dict(), model is switched)
            for model in (plain, switched)
        )
        found += [name for name, options in own.items() if ours.get(name) != options]
    return found


@pytest.fixture
def on_meta(monkeypatch):
    """What the libraries ask of values that are not there."""
    number, to_cpu, line = torch.Tensor.item, torch.Tensor.cpu, torch.linspace
    monkeypatch.setattr(torch.Tensor, 'item', lambda t: 0.0 if t.is_meta else number(t))
    monkeypatch.setattr(
        torch.Tensor, 'cpu', lambda t: torch.zeros(t.shape) if t.is_meta else to_cpu(t)
    )
    monkeypatch.setattr(torch, 'linspace', lambda *a, **k: line(*a, **{**k, 'device': 'cpu'}))


# what a model needs that is not here: other libraries, files from the web, values on meta
ABSENT = (KeyError, ImportError, OSError, TypeError, AttributeError, AssertionError, RuntimeError)


LEAST = dict(mmaction=25, mmseg=90, mmpretrain=45)


@pytest.mark.parametrize('library', LEAST)
def test_a_stock_model_trains_the_same_parameters_with_ssn(library, on_meta, long):
    """With ``--long`` every kind of model that the stock configs have."""
    compared = {name: differences(library, folder(library) / name) for name in FIRST[library]}
    for file in kinds(library) if long else ():
        try:
            compared[file.name] = differences(library, file)
        except ABSENT as error:
            print(file.name, type(error).__name__, error)
    assert {name: found for name, found in compared.items() if found} == {}
    assert sum(found is not None for found in compared.values()) >= (LEAST[library] if long else 1)
