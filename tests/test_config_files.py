"""What is wrong with a config is said in a line, with the file and line that it comes from."""

import re
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from ssn_mm.config_files import check_parts, files_of, read_config
from ssn_mm.renamed import CONFIGS


@pytest.mark.parametrize(
    ('name', 'text', 'message'),
    [
        ('broken.py', 'a = 1\nb = [1,\n', "line 2: SyntaxError: '.' was never closed"),
        ('raises.py', 'a = 1\nb = 1 / 0\n', 'line 2: ZeroDivisionError: division by zero'),
        ('nobase.py', "_base_ = 'no.py'\n", 'no.py, which it inherits from: FileNotFoundError'),
        ('ours.py', "_base_ = 'ssn_mm::deeplab.py'\n", 'no such file among its configs'),
        (
            'inherits.py',
            "_base_ = 'base.py'\n",
            'line 3 of .*base.py, which it inherits from: Name',
        ),
        (
            'lazy.py',
            'from mmengine.config import read_base\nx = y\n',
            "line 2: NameError: name 'y'",
        ),
        ('imports.py', "custom_imports = dict(imports='nothing')\n", 'ImportError'),
        ('reserved.py', 'text = 1\n', 'text is reserved'),
        ('half.json', '{', 'JSONDecodeError'),
        ('empty.json', '', 'JSONDecodeError'),
        ('half.yml', 'a: [1\n', 'ParserError'),
        ('list.yml', '- 1\n', 'cannot read'),
    ],
)
def test_what_is_wrong_with_a_config_is_said_with_its_place(tmp_path, name, text, message):
    (tmp_path / 'base.py').write_text('\n\na = b\n')
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_config(tmp_path / name)
    assert re.match(rf'cannot read .*{name}: ', str(caught.value))
    assert '\n' not in str(caught.value)


def test_a_binary_file_is_no_config(tmp_path):
    (tmp_path / 'weights.py').write_bytes(bytes(range(256)))
    with pytest.raises(ValueError, match=r'cannot read .*weights.py: '):
        read_config(tmp_path / 'weights.py')


def test_a_config_of_0_1_that_is_called_otherwise_is_named():
    folder = Path(__file__).parents[1] / 'configs' / 'action_recognition'
    for old, new in CONFIGS.items():
        assert (folder / new).is_file()
        with pytest.raises(FileNotFoundError, match=f'it is now {new}, see CHANGELOG.md'):
            read_config(folder / old)


def test_a_folder_is_no_config(tmp_path):
    with pytest.raises(FileNotFoundError, match='which is a folder'):
        read_config(tmp_path)


@pytest.mark.parametrize('options', [{'a.b.c': 1}, {'steps.5.type': 'X'}, {'steps.x': 1}])
def test_options_that_do_not_fit_are_said(tmp_path, options):
    (tmp_path / 'mine.py').write_text("a = dict(b=1)\nsteps = [dict(type='A')]\n")
    with pytest.raises(ValueError, match=r'the options .* do not fit .*mine.py'):
        read_config(tmp_path / 'mine.py', options)


def test_a_config_without_a_network_is_named(tmp_path):
    (tmp_path / 'suite.py').write_text("title = 'a'\n")
    cfg = read_config(tmp_path / 'suite.py')
    with pytest.raises(ValueError, match=r'the config .*suite.py has no model'):
        check_parts(cfg)
    with pytest.raises(ValueError, match='has no train_dataloader, train_cfg'):
        check_parts(cfg, 'train_dataloader', 'train_cfg')


def test_the_files_of_a_config_are_what_it_inherits_from_and_what_it_names(tmp_path, monkeypatch):
    (tmp_path / 'data').mkdir()
    for name in ('data/list.json', 'start.pth', 'other.pth'):
        (tmp_path / name).write_text('{}')
    (tmp_path / 'base.py').write_text("load_from = 'start.pth'\n")
    (tmp_path / 'mine.py').write_text(
        "_base_ = 'base.py'\ntrain = dict(data_root='data', ann_file='list.json', missing='no')\n"
    )
    monkeypatch.chdir(tmp_path)
    found = files_of(read_config('mine.py'))
    names = ['mine.py', 'base.py', 'start.pth', 'data/list.json']
    assert sorted(found) == sorted(str(tmp_path / name) for name in names)
    assert files_of(Config(dict(model=dict(type='X')))) == []


def test_a_config_that_needs_an_extra_says_which(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'mmaction', None)
    path = tmp_path / 'videos.py'
    path.write_text("custom_imports = dict(imports=['mmaction.no_such'])")
    with pytest.raises(ValueError, match=r"mmaction is not installed: .*'ssn-mm\[video\]'"):
        read_config(path)
