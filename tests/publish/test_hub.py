import json
import socket
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from ssn_mm.layers import ssn_layers
from ssn_mm.publish.configs import build_network

pytest.importorskip('safetensors')
from ssn_mm.publish.hub import from_pretrained, push_to_hub, save_pretrained
from ssn_mm.publish.publish import publish

DEMO = Path(__file__).parents[2] / 'configs/demo'
INPUTS = {'resnet': (2, 3, 64, 64), 'deeplab': (2, 3, 64, 64), 'i3d': (1, 1, 3, 8, 64, 64)}


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    def refuse(*_):
        raise AssertionError('the network was asked for')

    monkeypatch.setattr(socket.socket, 'connect', refuse)
    monkeypatch.setattr(socket, 'getaddrinfo', refuse)
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    if hub := sys.modules.get('huggingface_hub.constants'):  # which read it when it was imported
        monkeypatch.setattr(hub, 'HF_HUB_OFFLINE', True)


def network(name):
    """A network that has selected, with weights and statistics of its own."""
    cfg = Config.fromfile(DEMO / f'{name}_digits.py')
    model = build_network(cfg)
    generator = torch.Generator().manual_seed(0)
    for key, value in model.state_dict().items():
        if value.is_floating_point() and value.dim() and 'ratio_logits' not in key:
            value.add_(torch.rand(value.shape, generator=generator) / 10)
    for index, (_, layer) in enumerate(ssn_layers(model)):
        layer.ratio_logits.data.copy_(torch.eye(3)[[index % 3, index // 3 % 3]])
        layer.radius.fill_(0.9)
    return cfg, model


def outputs(model, kind):
    x = torch.randn(INPUTS[kind], generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = model(x, mode='tensor')
    return found if isinstance(found, list | tuple) else [found]


@pytest.mark.parametrize('norm', ['ssn', 'sn', 'bn'])
@pytest.mark.parametrize('kind', INPUTS)
def test_a_network_comes_back_with_equal_outputs(tmp_path, kind, norm, long):
    if not long and kind != 'resnet' and norm != 'ssn':
        pytest.skip('the same code, with --long')
    cfg, model = network(f'{kind}_{norm}')
    classes = dict(dataset_meta=dict(classes=['a', 'b']))
    folder = save_pretrained(model, cfg, tmp_path / 'out', classes)
    names = sorted(file.name for file in folder.iterdir())
    assert names == ['README.md', 'config.json', 'model.safetensors']
    back = from_pretrained(folder)
    assert not back.training
    assert back.dataset_meta == classes['dataset_meta']
    for one, other in zip(outputs(model, kind), outputs(back, kind), strict=True):
        assert torch.equal(one, other)
    selected = [[layer.selected for _, layer in ssn_layers(m)] for m in (model, back)]
    assert selected[0] == selected[1]
    assert bool(selected[0]) == (norm == 'ssn')


def test_a_checkpoint_and_a_published_folder_are_sources_too(tmp_path):
    cfg, model = network('resnet_ssn')
    file = tmp_path / 'epoch_1.pth'
    content = dict(state_dict=model.state_dict(), meta=dict(cfg=cfg.pretty_text, epoch=1))
    torch.save(content | dict(optimizer={}), file)
    folders = [save_pretrained(file, cfg, tmp_path / 'saved')]
    folders += [
        publish(file, out=tmp_path / kind, file_format=kind) for kind in ('pth', 'safetensors')
    ]
    for folder in folders:
        back = from_pretrained(folder).state_dict()
        assert all(torch.equal(value, back[key]) for key, value in model.state_dict().items())


@pytest.fixture
def saved(tmp_path):
    cfg, model = network('resnet_ssn')
    return save_pretrained(model, cfg, tmp_path / 'saved')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(custom_imports=dict(imports=['strange'])), "imports 'strange', whose code would"),
        (dict(model=dict(type='os.mkdir', path='ran')), "type='os.mkdir', which could be any"),
        (dict(model=dict(type='mmengine.mkdir_or_exist', dir_name='ran')), 'not in the'),
        (dict(model=dict(type='strange')), 'not in the'),
        (dict(model=dict(type='ImageClassifier', backbone=dict(type='a.b.C'))), "'a.b.C'"),
        (dict(model=dict(type='ResNet', depth=18, _scope_='strange')), "_scope_='strange'"),
        (dict(default_scope='strange'), "one of mmpretrain.*got 'strange'"),
        (dict(custom_imports=dict(imports=[3])), r'list of names of modules, got \[3\]'),
        (dict(custom_imports=[dict(a=1)]), 'list of names of modules, got'),
        (dict(model=[dict(type='ResNet')]), r"none that is a dict: \[\{'type'"),
    ],
)
def test_an_untrusted_config_runs_nothing(saved, tmp_path, monkeypatch, change, message):
    (tmp_path / 'strange.py').write_text('from pathlib import Path\nPath("ran").touch()')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    file = saved / 'config.json'
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        from_pretrained(saved)
    assert not (tmp_path / 'ran').exists()


def test_a_trusted_config_may_import(saved, tmp_path, monkeypatch):
    """And it shows that the file above works."""
    (tmp_path / 'strange.py').write_text('from pathlib import Path\nPath("ran").touch()')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    file = saved / 'config.json'
    change = dict(custom_imports=dict(imports=['strange']))
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    from_pretrained(saved, trust=True)
    assert (tmp_path / 'ran').exists()
    sys.modules.pop('strange')


def test_what_is_missing_or_damaged_is_named(saved, tmp_path):
    pytest.importorskip('huggingface_hub')
    with pytest.raises(ValueError, match="is no folder here, and no 'owner/name'"):
        from_pretrained(tmp_path / 'none')
    with pytest.raises(ValueError, match="'owner/none' is no folder here, and could not be"):
        from_pretrained('owner/none')
    with pytest.raises(ValueError, match=r'saved exists; name another folder'):
        save_pretrained(*reversed(network('resnet_ssn')), saved)
    weights = saved / 'model.safetensors'
    weights.write_bytes(weights.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r'model\.safetensors is damaged'):
        from_pretrained(saved)
    weights.unlink()
    with pytest.raises(FileNotFoundError, match='saved has 0 files of weights'):
        from_pretrained(saved)
    with pytest.raises(FileNotFoundError, match='saved has 0 files of weights'):
        push_to_hub(saved, 'owner/name')


def test_pushing_sends_the_folder_and_nothing_else(saved, monkeypatch):
    hub = pytest.importorskip('huggingface_hub')
    calls = []
    monkeypatch.setattr(hub, 'create_repo', lambda *a, **k: calls.append((a, k)))
    monkeypatch.setattr(hub, 'upload_folder', lambda **k: calls.append(k) or 'https://commit')
    assert push_to_hub(saved, 'owner/name', revision='main') == 'https://commit'
    assert calls == [
        (('owner/name',), dict(private=True, exist_ok=True)),
        dict(folder_path=str(saved), repo_id='owner/name', revision='main'),
    ]


@pytest.mark.parametrize('missing', ['huggingface_hub', 'safetensors'])
def test_without_the_extra_it_is_said_what_to_install(saved, tmp_path, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=r"-m pip install 'ssn-mm\[hub\]'"):
        from_pretrained('owner/name' if missing == 'huggingface_hub' else saved)
