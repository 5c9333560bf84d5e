"""Files that hold code, given to every loader that OpenMMLab has, in either family."""

import os
import pickle
import sys
from types import SimpleNamespace

import pytest
import torch

PLACES = ('state_dict', 'meta', 'optimizer', 'message_hub')
URL = 'http://localhost/bomb.pth'


class Bomb:
    """Its unpickling creates a file."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.fixture(params=[(place, zipped) for place in PLACES for zipped in (True, False)])
def bomb(request, tmp_path):
    """A file with a bomb, which lies in the cache of what was downloaded, too."""
    place, zipped = request.param
    path = tmp_path / 'hub/checkpoints/bomb.pth'
    path.parent.mkdir(parents=True)
    content = {'state_dict': {'weight': torch.zeros(1)}, place: {'name': Bomb(tmp_path / 'ran')}}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


@pytest.fixture
def refused(bomb, tmp_path, monkeypatch):
    """Checks that a call refuses the file and runs nothing of it, and that the bomb works."""

    def check(load, *args, **kwargs):
        with pytest.raises(pickle.UnpicklingError):
            load(*args, **kwargs)
        assert not (tmp_path / 'ran').exists()
        monkeypatch.delenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', raising=False)
        torch.load(bomb, weights_only=False)
        assert (tmp_path / 'ran').exists(), 'the bomb is a dud'

    return check


@pytest.fixture
def checkpoint(bomb, tmp_path, monkeypatch):
    """mmengine's module of loaders, whose lists of names and services all lead to the file."""
    checkpoint = pytest.importorskip('mmengine.runner.checkpoint')
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path / 'hub'))
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    monkeypatch.setenv('MMENGINE_HOME', str(tmp_path))
    urls = {'get_torchvision_models': URL, 'get_mmcls_models': URL, 'get_external_models': URL}
    for function, url in urls.items():
        monkeypatch.setattr(checkpoint, function, lambda url=url: {'bomb': url, 'local': str(bomb)})
    backend = SimpleNamespace(get=lambda name: bomb.read_bytes())
    monkeypatch.setattr(checkpoint, 'get_file_backend', lambda *_, **__: backend)
    model = SimpleNamespace(name='bomb.pth', download=lambda to: os.link(bomb, to))
    cloud = SimpleNamespace(modelcloud=SimpleNamespace(get=lambda path: model))
    monkeypatch.setitem(sys.modules, 'pavi', cloud)
    return checkpoint


SOURCES = {
    '': '{bomb}',
    'http://': URL,
    'https://': URL.replace('http', 'https'),
    'pavi://': 'pavi://bomb',
    r'(\S+\:)?s3://': 's3://bucket/bomb.pth',
    r'(\S+\:)?petrel://': 'petrel://bucket/bomb.pth',
    'modelzoo://': 'modelzoo://bomb',
    'torchvision://': 'torchvision://bomb',
    'open-mmlab://': 'open-mmlab://bomb',
    'openmmlab://': 'openmmlab://local',
    'mmcls://': 'mmcls://bomb',
}


@pytest.mark.parametrize('prefix', SOURCES)
def test_no_loader_of_mmengine_runs_the_code_of_a_file(checkpoint, bomb, refused, prefix):
    source = SOURCES[prefix].format(bomb=bomb)
    refused(
        checkpoint.CheckpointLoader.load_checkpoint, source, map_location='cpu', logger='silent'
    )


def test_every_prefix_of_mmengine_is_tried():
    checkpoint = pytest.importorskip('mmengine.runner.checkpoint')
    theirs = {p for p in checkpoint.CheckpointLoader._schemes if 'safetensors' not in p}
    assert set(SOURCES) == theirs


def test_mmengines_own_load_url_and_torchs_in_a_tool_refuse_too(checkpoint, refused, monkeypatch):
    from mmengine.utils.dl_utils import load_url

    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1')  # what every tool sets
    refused(load_url, URL, map_location='cpu')


def test_a_network_that_loads_by_the_libraries_functions_refuses(checkpoint, bomb, refused):
    from mmengine.model import BaseModule

    net = BaseModule(init_cfg=dict(type='Pretrained', checkpoint=str(bomb)))
    refused(net.init_weights)


def test_a_runner_refuses_to_load_and_to_resume(checkpoint, bomb, refused, tmp_path):
    from mmengine.runner import Runner

    runner = Runner(torch.nn.Linear(1, 1), str(tmp_path / 'work'), experiment_name=tmp_path.name)
    refused(runner.load_checkpoint, str(bomb))
    (tmp_path / 'ran').rmdir()
    refused(runner.resume, str(bomb))


@pytest.mark.parametrize('name', ['swav', 'vector_quantizer'])
def test_parts_of_mmpretrain_that_read_files_themselves_refuse(bomb, refused, name):
    pytest.importorskip('mmpretrain')
    if name == 'swav':
        from mmpretrain.engine.hooks import SwAVHook

        hook = SwAVHook(batch_size=1, interval=1)
        os.link(bomb, bomb.with_name('queue.pth'))
        refused(hook.before_run, SimpleNamespace(work_dir=str(bomb.parent)))
    else:
        from mmpretrain.models.utils.vector_quantizer import NormEMAVectorQuantizer

        refused(NormEMAVectorQuantizer, 4, 2, 1.0, codebook_init_path=str(bomb))
