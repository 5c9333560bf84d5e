"""--cfg-options as a shell hands them over."""

import argparse

import pytest
from mmengine.config import DictAction

from ssn_mm.cli.arguments import add_cfg_options


def read(*values):
    parser = argparse.ArgumentParser()
    add_cfg_options(parser)
    return parser.parse_args(['--cfg-options', *values]).cfg_options


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('/data/a demo/x  y', '/data/a demo/x  y'),
        ("'my data'", 'my data'),
        ('[/my data/a, b c]', ['/my data/a', 'b c']),
        ('one two, three', ['one two', 'three']),
        ('/data/set (1)/x', '/data/set (1)/x'),
    ],
)
def test_a_path_keeps_its_spaces(text, value):
    assert read(f'data_root={text}') == dict(data_root=value)


@pytest.mark.parametrize(
    'text',
    ['3', ' 0.5 ', 'true', 'None', '', '1,2', '[1, 2]', '[ (1, 2), [a, b], c ]', '(1,)', 'a=b'],
)
def test_everything_else_is_read_as_mmengine_reads_it(text):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    expected = parser.parse_args(['--cfg-options', f'k={text}', 'n=1']).cfg_options
    assert read(f'k={text}', 'n=1') == expected


@pytest.mark.parametrize('text', ['nothing', '=3', 'k=[1,2', 'k=(1,2'])
def test_what_is_no_value_is_told_as_a_wrong_command(text, capsys):
    with pytest.raises(SystemExit) as error:
        read(text)
    assert error.value.code == 2
    assert f'got {text!r}' in (said := capsys.readouterr().err) or f'in {text!r}' in said
