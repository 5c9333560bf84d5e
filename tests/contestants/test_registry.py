"""Contestants of files, of packages, and what is wrong with one."""

import subprocess
import sys
import textwrap
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from ssn_mm.contestants import contestants, find_contestant, load_contestants, registry

ROOT = Path(__file__).parents[2]
MINE = """
    from torch import nn

    from ssn_mm.contestants import Contestant, register_contestant


    class {kind}(nn.BatchNorm2d):
        pass


    register_contestant(
        Contestant(
            name='{name}',
            layer={kind},
            norm_cfg=dict(type='{kind}'),
            cost='That of BN.',
            start=dict(weight=1, bias=0),
            deploys='It is folded.',
            neighbours=[],
        )
    )
"""


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Writes contestant files, which are forgotten after the test."""
    monkeypatch.setattr(registry, '_found', dict(registry._found))
    monkeypatch.setattr(sys, 'path', list(sys.path))
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    types, modules = dict(MODELS._module_dict), set(sys.modules)

    def write(stem, name='mine', kind='Mine', **changes):
        text = textwrap.dedent(MINE.format(name=name, kind=kind))
        for old, new in changes.values():
            assert old in text
            text = text.replace(old, new)
        (tmp_path / f'{stem}.py').write_text(text)
        return tmp_path / f'{stem}.py'

    yield write
    for name in set(MODELS._module_dict) - set(types):
        del MODELS._module_dict[name]
    for name in set(sys.modules) - modules:
        if getattr(sys.modules[name], '__file__', None) and str(tmp_path) in str(
            sys.modules[name].__file__
        ):
            del sys.modules[name]


def test_the_papers_norms_come_first_and_a_file_in_the_folder_is_one():
    names = list(contestants())
    assert names[:6] == ['BN', 'IN', 'LN', 'GN', 'SN', 'SSN']
    files = {file.stem for file in (ROOT / 'ssn_mm/contestants/norms').glob('[!_]*.py')}
    modules = {own.module.rpartition('.')[2] for own in contestants().values()}
    assert modules == files
    assert len(names) == len(files) == 15


def test_the_fragments_of_configs_are_what_contestants_state():
    from mmengine.config import Config

    for name in ('BN', 'IN', 'LN', 'GN', 'SN', 'SSN', 'SyncBN'):
        fragment = Config.fromfile(ROOT / f'configs/_base_/norms/{name.lower()}.py')
        own = find_contestant(name)
        assert fragment.norm_cfg == own.config(2)
        assert fragment.norm_cfg_3d == own.config(3)
        assert fragment.get('custom_hooks', []) == list(own.hooks)


def test_a_file_is_a_contestant_whose_type_openmmlab_knows(written):
    file = written('my_norm_of_a_file')
    (own,) = load_contestants(file)
    assert find_contestant('mine') is own
    assert own.module == 'my_norm_of_a_file'
    assert list(contestants())[:6] == ['BN', 'IN', 'LN', 'GN', 'SN', 'SSN']
    assert MODELS.get('Mine') is own.layer
    assert own.build(4)(torch.randn(2, 4, 3, 3)).shape == (2, 4, 3, 3)
    assert load_contestants(file) == [own]


def test_a_folder_of_files_is_loaded_and_trainings_find_it(written):
    folder = written('mine_a', 'mine a', 'MineA').parent
    written('mine_b', 'mine b', 'MineB')
    assert [own.name for own in load_contestants(folder)] == ['mine a', 'mine b']
    code = 'import mine_a; from ssn_mm.contestants import contestants; print(*contestants())'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert 'mine a' in done.stdout, done.stderr


def test_an_installed_package_registers_by_its_entry_point(written, monkeypatch):
    sys.path.insert(0, str(written('mine_of_a_package').parent))
    points = [EntryPoint('mine', 'mine_of_a_package', 'ssn_mm.contestants')]
    monkeypatch.setattr(registry, 'entry_points', lambda group: points)
    monkeypatch.setattr(registry, '_complete', False)
    assert contestants()['mine'].module == 'mine_of_a_package'


PARTS = ['name', 'layer', 'norm_cfg', 'cost', 'start', 'deploys', 'neighbours']


@pytest.mark.parametrize('part', PARTS)
def test_a_file_that_lacks_a_part_is_told_which(written, part):
    file = written(f'mine_lacks_{part}')
    lines = [line for line in file.read_text().splitlines() if f'        {part}=' not in line]
    file.write_text('\n'.join(lines))
    with pytest.raises(ValueError, match=rf"mine_lacks_{part}\.py .*missing.*argument: '{part}'"):
        load_contestants(file)


CHANGES = {
    'no text': (("cost='That of BN.'", "cost=''"), 'name, cost and deploys must be texts'),
    'no class': (('layer=Mine,', "layer='Mine',"), "layer must be a class of modules, got 'Mine'"),
    'no type': (("dict(type='Mine')", 'dict(kind=1)'), 'norm_cfg must be a dict'),
    'effects': (('neighbours=[]', "neighbours=['eats it']"), 'neighbours must be a list out of'),
    'activates': (
        ('neighbours=[]', "neighbours=['is the activation after it']"),
        'Mine needs a method without_activation',
    ),
    'start': (('weight=1, bias=0', 'weight=1'), r"start names \['weight'\], the layer has"),
    'value': (('bias=0', 'bias=2'), r'start says bias = 2, the layer has \[0'),
    'options': (("type='Mine'", "type='Mine', groups=2"), 'cannot serve 64 channels with'),
    'no call': (('register_contestant(\n', 'print(\n'), 'registers no contestant; it must call'),
    'type taken': (("type='Mine'", "type='FRN'"), "type 'FRN' is ssn_mm.contestants.norms"),
    'name taken': (("name='mine'", "name='GN'"), "'GN' is the name of a norm of ssn_mm"),
    'damaged': (('class Mine', 'klass Mine'), 'SyntaxError'),
}


@pytest.mark.parametrize('case', CHANGES)
def test_what_is_wrong_with_a_file_is_said(written, case):
    change, told = CHANGES[case]
    file = written(f'mine_{case.replace(" ", "_")}', change=change)
    with pytest.raises(ValueError, match=told):
        load_contestants(file)


def test_a_file_that_another_module_hides_is_told(written):
    file = written('textwrap')
    with pytest.raises(ValueError, match=r'cannot be imported as .textwrap., which is .*rename'):
        load_contestants(file)
    file = written('my-norm')
    with pytest.raises(ValueError, match='no name of a module; rename the file'):
        load_contestants(file)


def test_no_file_is_told(tmp_path):
    for place in (tmp_path, tmp_path / 'none.py'):
        with pytest.raises(FileNotFoundError, match='no contestant at'):
            load_contestants(place)


@pytest.mark.parametrize(
    ('name', 'near'),
    [('frn', r'FRN\+TLU'), ('gnws', r'GN\+WS'), ('batchnorm', 'BatchRenorm'), ('ssn', 'SSN')],
)
def test_an_unknown_norm_is_told_with_the_nearest_names(name, near):
    with pytest.raises(ValueError, match=rf'unknown norm {name!r}; did you mean .*{near}'):
        find_contestant(name)


def test_channels_that_groups_do_not_divide_are_told_by_name():
    for name in ('GN', 'GN+WS', 'EvoNorm-S0'):
        with pytest.raises(
            ValueError, match=f'{name} cannot serve 48 channels'.replace('+', r'\+')
        ):
            find_contestant(name).build(48)
        assert isinstance(find_contestant(name).build(48, num_groups=16), nn.Module)
