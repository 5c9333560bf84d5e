import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def tool(name, *args):
    return [sys.executable, ROOT / 'tools' / f'{name}.py', *args]


@pytest.mark.parametrize('name', ['train', 'test'])
def test_help_explains_every_flag(run_tool, name):
    code, output = run_tool(*tool(name, '--help'))
    assert code == 0
    flags = ['--work-dir', '--cfg-options', '--launcher']
    flags += {'train': ['--resume', '--amp'], 'test': ['--tta', '--out', '--show-dir']}[name]
    assert all(flag in output for flag in flags)


def test_training_without_ade20k_stops_with_directions_before_building(run_tool, tmp_path):
    code, output = run_tool(*tool('train', ROOT / 'configs' / 'deeplab_ssn_ade20k.py'))
    assert code == 2
    assert 'data/ade/ADEChallengeData2016/images/training' in output
    assert 'ssn_mm::train.py ssn_mm::demo/deeplab_ssn_digits.py' in output
    assert 'Traceback' not in output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('train', 'configs/nothing.py'), "no config file 'configs/nothing.py'"),
        (('train', ROOT / 'README.md'), 'a config ends in .py'),
        (('test', ROOT / 'configs/deeplab_ssn_ade20k.py', 'no.pth'), "no checkpoint 'no.pth'"),
        (
            ('train', ROOT / 'configs/demo/deeplab_ssn_digits.py', '--amp', 'float8'),
            "'float8' is not one of ('bfloat16', 'float16'); write --amp after the config",
        ),
    ],
)
def test_a_users_error_is_a_message_and_exit_code_2(run_tool, arguments, message):
    code, output = run_tool(*tool(*arguments))
    assert code == 2
    assert message in output
    assert 'Traceback' not in output


@pytest.mark.parametrize('script', ['dist_train.sh', 'dist_test.sh'])
def test_shell_tools_say_how_to_call_them(run_tool, script):
    code, output = run_tool('bash', ROOT / 'tools' / script)
    assert code == 2
    assert 'usage:' in output
    assert 'CONFIG' in output
