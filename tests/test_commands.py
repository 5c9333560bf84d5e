"""Commands as they are printed."""

import os
import shlex
import sys
from pathlib import Path

import pytest

from ssn_mm import commands
from ssn_mm.commands import command, pip_install, quoted, short

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _no_python(monkeypatch):
    monkeypatch.setenv('PATH', '')


def test_a_command_names_the_script_below_a_checkout_and_the_module_elsewhere(
    tmp_path, monkeypatch
):
    demo = 'ssn_mm::demo/resnet_ssn_digits.py'
    monkeypatch.chdir(ROOT)
    own = f'{sys.executable} tools/train.py configs/demo/resnet_ssn_digits.py'
    assert command('train.py', demo) == own
    monkeypatch.chdir(tmp_path)
    assert command('train.py', demo) == f'{sys.executable} -m ssn_mm ssn_mm::train.py {demo}'
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(commands, '_ROOT', tmp_path)  # as in site-packages
    assert command('train.py', demo) == f'{sys.executable} -m ssn_mm ssn_mm::train.py {demo}'


@pytest.mark.parametrize('name', ["a 'quoted' name", '-x', 'grün $HOME', 'a::b.py', 'a;b&c', '*'])
def test_a_path_reaches_the_tool_as_it_is(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for path in (Path(name), tmp_path / name):
        *_, got, option = shlex.split(command('test.py', path, '--tta'))
        assert option == '--tta'
        assert not got.startswith('-')
        assert Path(got) == Path(name)
        assert os.path.abspath(got) == str(tmp_path / name)
    *_, got = shlex.split(command('test.py', tmp_path.parent / name))
    assert got == str(tmp_path.parent / name)
    assert short(tmp_path) == '.'


def test_python_is_the_interpreter_that_runs(tmp_path, monkeypatch):
    other = tmp_path / 'python'  # of another environment, though the same program
    other.symlink_to(sys.executable)
    monkeypatch.setenv('PATH', str(tmp_path))
    assert command('train.py').startswith(f'{sys.executable} ')
    monkeypatch.setattr(sys, 'executable', str(other))
    assert command('train.py').startswith('python ')


def test_packages_are_installed_for_the_interpreter_that_runs():
    assert pip_install('ssn-mm[hub]') == f"{sys.executable} -m pip install 'ssn-mm[hub]'"


def test_tools_of_other_libraries_are_run_through_the_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = command('mmseg::train.py', Path('a b'))
    assert shlex.split(told)[1:] == ['-m', 'ssn_mm', 'mmseg::train.py', 'a b']
    assert [shlex.split(quoted(path)) for path in ('-x', 'a b')] == [['./-x'], ['a b']]
