"""Results of another code, config, start or library are told apart; moved code is the same."""

import ast
import re
import shutil
import sys

import pytest
import torch
from mmengine.config import Config

from ssn_mm.suites import provenance as module
from ssn_mm.suites.definitions import _module, _modules, definitions
from ssn_mm.suites.provenance import (
    data_digest,
    differences,
    provenance_of,
    sources,
    weights_digest,
)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package that may be edited."""
    copy = tmp_path / 'ssn_mm'
    shutil.copytree(module.PACKAGE, copy, ignore=shutil.ignore_patterns('__pycache__'))
    monkeypatch.setattr(module, 'PACKAGE', copy)
    module._code.cache_clear()
    yield copy
    module._code.cache_clear()


def changed(cfg, edit):
    """Names of what an edit changes in a config's provenance."""
    before = provenance_of(cfg)
    edit()
    module._code.cache_clear()
    _modules.cache_clear()
    _module.cache_clear()
    return set(differences(before, provenance_of(cfg)))


def append(file):
    with file.open('a') as opened:
        opened.write('\nedited = 1\n' if file.suffix == '.py' else '\nint edited;\n')


def test_whatever_a_training_executes_is_part_of_the_code(package):
    kernels = [f for f in (package / 'ops/backends/cpp').iterdir() if f.suffix in ('.cpp', '.h')]
    assert {'torch_ops.cpp', 'switch_norm.cpp', 'maps.h'} < {file.name for file in kernels}
    for file in (*kernels, package / 'ops/backends/triton/kernels.py', package / 'files.py'):
        assert changed(Config(), lambda file=file: append(file)) == {'code'}, file
    (package / 'ops/backends/cpp/more.cu').touch()
    assert changed(Config(), lambda: append(package / 'ops/backends/cpp/more.cu')) == {'code'}


def test_what_no_training_executes_is_not(package):
    for name in ('visualization/report.html.j2', 'visualization/report.py', 'cli/infer.py'):
        assert changed(Config(), lambda name=name: append(package / name)) == set()
    (package / 'ops/__pycache__').mkdir(exist_ok=True)
    cached = package / 'ops/__pycache__/x.pyc'
    assert changed(Config(), cached.touch) == set()


def test_all_that_the_training_tool_imports_is_part_of_the_code():
    """But for what draws while a network trains, and what 0.1 was called."""
    hashed = {path.relative_to(module.PACKAGE).as_posix() for path in sources()}
    for path in sources():
        package = path.relative_to(module.PACKAGE.parent).parent.parts
        for node in ast.walk(ast.parse(path.read_text()) if path.suffix == '.py' else ast.Pass()):
            if not isinstance(node, ast.ImportFrom) or not node.level:
                continue
            base = module.PACKAGE.parent.joinpath(*package[: len(package) - node.level + 1])
            names = [node.module] if node.module else [alias.name for alias in node.names]
            for name in names:
                file = base.joinpath(*name.split('.'))
                file = file / '__init__.py' if file.is_dir() else file.with_suffix('.py')
                used = file.relative_to(module.PACKAGE).as_posix()
                known = used in hashed or used in (*module.TABLES, *module.NOT_TRAINING)
                assert known or not file.exists(), (path, used)


def rename_module(package):
    """Moves a file and renames it, as a refactoring would."""
    old, new = package / 'engine/hooks/radius_hook.py', package / 'engine/schedule_hook.py'
    text = (
        old.read_text()
        .replace('from ..', 'from .')
        .replace('from .ratios_hook', 'from .hooks.ratios_hook')
    )
    new.write_text(text)
    old.unlink()
    for file in package.rglob('*.py'):
        text = file.read_text()
        file.write_text(
            text.replace('engine.hooks.radius_hook', 'engine.schedule_hook').replace(
                'from .radius_hook', 'from ..schedule_hook'
            )
        )


def rewrite(file, *replacements):
    text = file.read_text()
    for old, new in replacements:
        assert re.search(old, text), old
        text = re.sub(old, new, text)
    file.write_text(text)


@pytest.mark.parametrize(
    'edit',
    [
        rename_module,
        lambda p: rewrite(p / 'files.py', ('"""Files that', '"""The files that')),
        lambda p: rewrite(p / 'files.py', (r'\nIdentity =', '\n# a comment\nIdentity =')),
        lambda p: rewrite(p / 'files.py', (r'import os\n', 'import os, sys\n')),
        lambda p: rewrite(p / 'files.py', (r'\n\n\ndef', '\n\n\n\n\ndef')),
        lambda p: rewrite(p / 'files.py', ("'", '"'), ('import os', 'import os ')),
        lambda p: (p / 'files.py').write_text(ast.unparse(ast.parse((p / 'files.py').read_text()))),
        lambda p: rewrite(
            p / 'ops/backends/cpp/mix.h', ('\n#include <', '\n// word\n\n#include <')
        ),
        lambda p: rewrite(p / 'ops/backends/cpp/mix.h', (' ?= ?', '  = ')),
    ],
)
def test_where_code_stands_and_how_it_is_written_makes_no_difference(package, edit):
    before = {file: file.read_bytes() for file in package.rglob('*') if file.is_file()}
    assert changed(Config(), lambda: edit(package)) == set()
    after = {file: file.read_bytes() for file in package.rglob('*') if file.is_file()}
    assert before != after


@pytest.mark.parametrize(
    ('file', 'text'),
    [
        ('a.py', 'def f(x):\n    """Words."""\n    return x + 1\n'),
        ('b.h', '#pragma once\nint f(int x) { return x + 1; } // words\n'),
    ],
)
def test_what_code_does_makes_a_difference(tmp_path, file, text):
    (tmp_path / file).write_text(text)
    first = list(definitions(tmp_path / file, tmp_path))
    (tmp_path / file).write_text(text.replace('ords', 'ORDS'))
    assert list(definitions(tmp_path / file, tmp_path)) == first
    for old, new in (('1', '2'), ('+', '-'), ('x', 'y'), ('f', 'g')):
        (tmp_path / file).write_text(text.replace(old, new))
        assert list(definitions(tmp_path / file, tmp_path)) != first, (old, new)


def test_another_definition_of_an_imported_name_makes_a_difference(tmp_path):
    package = tmp_path / 'mine'
    package.mkdir()
    for name, text in dict(
        a='def f():\n    return 1\n',
        b='def f():\n    return 2\n',
        shown='from .a import f\n',
        moved='def f():\n    return 1\n',
    ).items():
        (package / f'{name}.py').write_text(text)

    def written(text):
        (package / 'c.py').write_text(text)
        _modules.cache_clear()
        _module.cache_clear()
        return list(definitions(package / 'c.py', package))

    first = written('from .a import f\ndef g():\n    return f()\n')
    for same in ('from mine.a import f as h\ndef g():\n    return h()\n',
                 'from . import a\ndef g():\n    return a.f()\n',
                 'import mine.moved as m\ndef g():\n    return m.f()\n',
                 'from .shown import f\ndef g():\n    return f()\n'):  # fmt: skip
        assert written(same) == first
    for other in ('from .b import f\ndef g():\n    return f()\n',
                  'from . import b as a\ndef g():\n    return a.f()\n'):  # fmt: skip
        assert written(other) != first


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
        assert 'imports' not in provenance_of(Config(dict(custom_imports=dict(imports=names))))


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
        assert 'weights' not in provenance_of(Config(dict(load_from=source)))


def test_the_digest_of_weights_changes_with_their_last_bit(tmp_path):
    def saved(bit, **more):
        weights = torch.ones(3, dtype=torch.bfloat16)
        weights[1] += bit * 2**-7
        torch.save(dict(state_dict=dict(a=weights, n=torch.tensor(2)), **more), tmp_path / 'a.pth')
        return weights_digest(tmp_path / 'a.pth')

    assert saved(0) == saved(0, meta=dict(time='now')) != saved(1)
    (tmp_path / 'a.pth').write_text('none')
    assert weights_digest(tmp_path / 'a.pth') == ''


def test_what_decodes_the_data_is_among_the_libraries():
    found = provenance_of(Config())
    names = {'torch', 'torchvision', 'mmengine', 'mmcv', 'numpy', 'opencv-python', 'pillow'}
    assert names <= {name for name, value in found.items() if value}


def test_annotations_edited_in_place_are_other_data(tmp_path):
    (tmp_path / 'train.txt').write_text('a.jpg 1\n')
    (tmp_path / 'a.jpg').write_bytes(b'picture')
    dataset = dict(type='ImageNet', data_root=str(tmp_path))
    cfg = Config(dict(train_dataloader=dict(dataset=dataset)))
    found = [data_digest(cfg)]
    (tmp_path / 'train.txt').write_text('a.jpg 2\n')
    found.append(data_digest(cfg))
    (tmp_path / 'a.jpg').write_bytes(b'longer picture')
    found.append(data_digest(cfg))
    assert len(set(found)) == 3
