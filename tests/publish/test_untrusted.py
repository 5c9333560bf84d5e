"""What an untrusted config may not have, were the libraries that download installed."""

import sys
from types import ModuleType, SimpleNamespace

import mmaction.models  # noqa: F401, registers
import mmpretrain.models
import mmseg.models  # noqa: F401
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.runner import CheckpointLoader
from mmpretrain.models import HuggingFaceClassifier
from torch import nn

from ssn_mm.publish.configs import build_network

REMOTE = dict(model_name='evil/repo', trust_remote_code=True)
HEAD = dict(type='mmseg.FCNHead', in_channels=4, channels=4, num_classes=2)


@pytest.fixture
def fetched(monkeypatch):
    """What a transformers that is installed would be asked for."""
    asked = []

    def fetch(*args, **options):
        asked.append((args, options))
        return nn.Identity()

    stub, auto = ModuleType('transformers'), SimpleNamespace
    stub.AutoConfig = auto(from_pretrained=fetch)
    stub.AutoModelForImageClassification = auto(from_config=fetch, from_pretrained=fetch)
    monkeypatch.setitem(sys.modules, 'transformers', stub)
    init = HuggingFaceClassifier.__init__
    monkeypatch.setattr(HuggingFaceClassifier, '__init__', init.__wrapped__)  # checks no versions

    def build(**options):  # as mmpretrain registers transformers' classes
        return fetch(**options)

    build.__module__ = 'mmpretrain.models.utils.huggingface'
    models = mmpretrain.models.MODELS
    models.register_module('AutoModelForCausalLM', force=True, module=build)
    yield asked
    models.module_dict.pop('AutoModelForCausalLM')


def config(**model):
    return Config(dict(default_scope='mmpretrain', model=model))


@pytest.mark.parametrize(
    ('model', 'message'),
    [
        (dict(type='HuggingFaceClassifier', **REMOTE), 'trust_remote_code=True'),
        (dict(type='HuggingFaceClassifier', model_name='evil/repo'), 'from elsewhere'),
        (dict(type='ImageClassifier', backbone=dict(type='A', b=[REMOTE])), 'trust_remote_code'),
        (dict(type='ImageClassifier', backbone=dict(type='AutoModelForCausalLM')), 'elsewhere'),
        (dict(type='TimmClassifier', model_name='resnet18', pretrained=True), 'from elsewhere'),
        (dict(type='mmpretrain.TIMMBackbone', model_name='resnet18'), 'from elsewhere'),
        (dict(type='mmseg.TIMMBackbone', model_name='resnet18'), 'from elsewhere'),
        (dict(type='mmseg.VPD', diffusion_cfg=dict()), 'from elsewhere'),
        (dict(type='mmaction.CLIPSimilarity'), 'from elsewhere'),
        (dict(type='mmaction.VindLUVQA'), 'from elsewhere'),
        (dict(type='BlipCaption'), 'from elsewhere'),
        (dict(type='mmaction.TANet', depth=18, num_segments=3, pretrained='x.pth'), "'x.pth' as"),
        (HEAD | dict(loss_decode=dict(class_weight='http://evil/x.pkl')), 'may hold code'),
        (HEAD | dict(loss_decode=[dict(class_weight='x.yaml')]), 'may hold code'),
    ],
)
def test_an_untrusted_config_fetches_nothing(fetched, model, message):
    get, load = type(MODELS).get, vars(CheckpointLoader)['load_checkpoint']
    with pytest.raises(ValueError, match=message):
        build_network(config(**model))
    assert not fetched
    assert type(MODELS).get is get
    assert vars(CheckpointLoader)['load_checkpoint'] is load


def test_a_trusted_config_may_fetch(fetched):
    """And it shows that the above would."""
    build_network(config(type='HuggingFaceClassifier', **REMOTE), trust=True)
    assert fetched[0] == (('evil/repo',), dict(trust_remote_code=True))


def test_what_a_start_would_read_is_no_hindrance(fetched):
    net = build_network(config(type='ResNet', depth=18, init_cfg=dict(
        type='Pretrained', checkpoint='https://elsewhere/x.pth')))  # fmt: skip
    assert torch.is_tensor(net.conv1.weight)
