"""Results of another code, config, start or library are told apart."""

import shutil
import sys

import pytest
from mmengine.config import Config

from ssn_mm.suites import provenance as module
from ssn_mm.suites.provenance import data_version, differences, versions


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package that may be edited."""
    copy = tmp_path / 'ssn_mm'
    shutil.copytree(module.PACKAGE, copy)
    monkeypatch.setattr(module, 'PACKAGE', copy)
    module._code.cache_clear()
    yield copy
    module._code.cache_clear()


def changed(cfg, edit):
    """Which versions an edit changes."""
    before = versions(cfg)
    edit()
    module._code.cache_clear()
    return {told.partition(' ')[0] for told in differences(before, versions(cfg))}


def append(file, text='\n// edited\n'):
    with file.open('a') as opened:
        opened.write(text)


def test_whatever_a_training_runs_is_part_of_the_codes_version(package):
    kernels = [f for f in (package / 'ops/backends/cpp').iterdir() if f.suffix in ('.cpp', '.h')]
    assert len(kernels) == 6
    for file in (*kernels, package / 'ops/backends/triton/kernels.py', package / 'files.py'):
        assert changed(Config(), lambda file=file: append(file)) == {'code'}, file
    (package / 'ops/backends/cpp/more.cu').touch()
    assert changed(Config(), lambda: append(package / 'ops/backends/cpp/more.cu')) == {'code'}


def test_what_no_training_runs_is_none(package):
    for name in ('analysis/report.html.j2', 'visualization/report.py', 'cli/infer.py'):
        assert changed(Config(), lambda name=name: append(package / name)) == set()
    (package / 'ops/__pycache__').mkdir(exist_ok=True)
    cached = package / 'ops/__pycache__/x.pyc'
    assert changed(Config(), cached.touch) == set()


def test_modules_that_a_config_imports_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / 'my_networks').mkdir()
    (tmp_path / 'my_networks/__init__.py').touch()
    (tmp_path / 'my_networks/head.py').write_text('a = 1\n')
    (tmp_path / 'my_hook.py').write_text('a = 1\n')
    cfg = Config(dict(custom_imports=dict(imports=['ssn_mm', 'my_networks.head', 'my_hook'])))
    for file in ('my_networks/head.py', 'my_hook.py'):
        assert changed(cfg, lambda file=file: append(tmp_path / file)) == {'imports'}
    assert 'my_hook' not in sys.modules  # found, not run
    for names in ('ssn_mm', ['ssn_mm', 'mmseg.models'], ['no_such_module']):
        assert 'imports' not in versions(Config(dict(custom_imports=dict(imports=names))))


def test_weights_that_a_training_starts_from_are_told_apart(tmp_path):
    file = tmp_path / 'start.pth'
    file.write_bytes(b'one')
    start = dict(type='Pretrained', checkpoint=str(file))
    for cfg in (
        dict(load_from=str(file)),
        dict(model=dict(backbone=dict(init_cfg=[start]))),
        dict(model=dict(backbone=dict(pretrained=str(file)))),
    ):
        assert changed(Config(cfg), lambda: append(file)) == {'weights'}
    for source in ('https://example.org/a.pth', 'torchvision://resnet50', str(tmp_path), None):
        assert 'weights' not in versions(Config(dict(load_from=source)))


def test_what_decodes_the_data_is_among_the_libraries():
    found = versions(Config())
    names = {'torch', 'torchvision', 'mmengine', 'mmcv', 'numpy', 'opencv-python', 'pillow'}
    assert names <= {name for name, value in found.items() if value}


def test_annotations_edited_in_place_are_other_data(tmp_path):
    (tmp_path / 'train.txt').write_text('a.jpg 1\n')
    (tmp_path / 'a.jpg').write_bytes(b'picture')
    cfg = Config(dict(train_dataloader=dict(dataset=dict(data_root=str(tmp_path)))))
    found = [data_version(cfg)]
    (tmp_path / 'train.txt').write_text('a.jpg 2\n')
    found.append(data_version(cfg))
    (tmp_path / 'a.jpg').write_bytes(b'longer picture')
    found.append(data_version(cfg))
    assert len(set(found)) == 3
