"""What tools say of an installation that cannot work."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from ssn_mm.cli import environment

ROOT = Path(__file__).parents[2]
START = f'import sys; sys.path.insert(0, {str(ROOT)!r})\n'


def run(code, main=None):
    """What a program prints on stderr, as a tool where ``main`` names one, and its exit code."""
    start = START
    if main:
        start += f"sys.modules['__main__'].__file__ = {str(ROOT / main)!r}\n"
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', start + textwrap.dedent(code)],
        capture_output=True,
        text=True,
    )
    return done.stderr, done.returncode


WITHOUT_LIBRARY = """
class Missing:
    def find_spec(self, name, *_):
        if name == 'cv2':
            message = 'libxcb.so.1: cannot open shared object file: No such file or directory'
            raise ImportError(message)

sys.meta_path.insert(0, Missing())
sys.modules.pop('cv2', None)
import ssn_mm.cli
"""


def test_a_tool_names_the_packages_of_a_missing_system_library_without_a_traceback():
    told, code = run(WITHOUT_LIBRARY, 'tools/train.py')
    assert code == 2
    assert 'Traceback' not in told
    for part in ('libxcb.so.1', 'apt-get install libxcb1 libgl1 libglib2.0-0', 'dnf install'):
        assert part in told
    assert 'conda-forge' in told
    assert 'opencv-python-headless' in told


EVERY_TOOL = WITHOUT_LIBRARY.replace(
    'import ssn_mm.cli',
    """
import os, runpy, traceback
from pathlib import Path
import mmengine, numpy, PIL.Image, torch  # once for all
import ssn_mm

for tool in sorted(Path(TOOLS).rglob('[!_]*.py')):
    print(f'== {tool.name}', file=sys.stderr, flush=True)
    if not os.fork():
        sys.argv = [str(tool), '--help']
        sys.modules['__main__'].__file__ = str(tool)
        sys.path.insert(0, str(tool.parent))
        try:
            runpy.run_path(str(tool), run_name='__main__')
        except SystemExit:
            pass
        except BaseException:
            traceback.print_exc()
        os._exit(0)  # at once, without PyTorch's end
    os.wait()
""",
)


def test_every_tool_names_them():
    told, _ = run(f'TOOLS = {str(ROOT / "tools")!r}\n{EVERY_TOOL}')
    by_tool = dict(part.split('\n', 1) for part in told.split('== ')[1:])
    assert {'train.py', 'infer.py', 'bench_import.py', 'report.py', 'render.py'} <= by_tool.keys()
    for tool in ('gpu_check.py', 'check_networks.py'):  # need no OpenMMLab
        del by_tool[tool]
    for tool, said in by_tool.items():
        assert said.startswith('error: OpenCV cannot be loaded'), f'{tool}: {said}'


def test_another_program_gets_the_error_to_handle():
    told, code = run(WITHOUT_LIBRARY)
    assert code == 1
    assert "ImportError: OpenCV cannot be loaded, since the system's library libxcb.so.1" in told


def test_a_tool_without_openmmlab_says_what_to_install():
    code = """
    from importlib import util
    find = util.find_spec
    util.find_spec = lambda name, *a: None if name.startswith('mm') else find(name, *a)
    import ssn_mm.cli
    """
    told, exit_code = run(code, 'tools/train.py')
    assert exit_code == 2
    assert told.startswith('error: the tools need OpenMMLab: ')
    assert "'ssn-mm[openmmlab,lite]'" in told
    assert "'ssn-mm[onedl]'" in told


@pytest.mark.parametrize(
    ('installed', 'told', 'again'),
    [
        (
            ['mmengine', 'onedl-mmengine', 'mmcv-lite', 'onedl-mmcv'],
            'mmengine and onedl-mmengine own mmengine; mmcv-lite and onedl-mmcv own mmcv',
            ['mmengine mmcv-lite', 'onedl-mmengine onedl-mmcv'],
        ),
        (['mmengine', 'mmcv', 'mmcv-lite'], 'mmcv and mmcv-lite own mmcv', ['mmcv', 'mmcv-lite']),
    ],
)
def test_two_distributions_of_one_package_are_told_with_the_commands_that_mend_it(
    monkeypatch, installed, told, again
):
    monkeypatch.setattr(environment, '_version', lambda name: '1' if name in installed else '')
    with pytest.raises(ImportError, match=f'into one folder: {told}') as error:
        environment.check_environment()
    removed, *commands = str(error.value).splitlines()[1:]
    assert 'pip uninstall -y ' in removed
    assert [line.partition('pip install ')[2].partition('    #')[0] for line in commands] == again


def test_one_family_is_left_alone_and_so_are_two_that_share_no_folder(monkeypatch):
    monkeypatch.setattr(environment, 'requires', lambda name: [])
    for there in (
        {'mmengine', 'mmcv', 'mmsegmentation', 'mmpretrain'},
        {'onedl-mmengine', 'onedl-mmcv', 'onedl-mmsegmentation', 'onedl-mmpretrain'},
        {'onedl-mmengine', 'onedl-mmcv', 'mmsegmentation'},
    ):
        monkeypatch.setattr(environment, '_version', lambda name, t=there: 'x' if name in t else '')
        environment.check_environment()


@pytest.mark.parametrize(
    ('old', 'told'),
    [
        ('sys.version_info = (3, 9, 18)', 'needs Python 3.10 or later, this is'),
        ("import torch; torch.__version__ = type(torch.__version__)('2.5.1')", 'this is 2.5.1:'),
        ("sys.modules['torch'] = None", 'needs PyTorch 2.6 or later, here is none:'),
    ],
)
def test_an_old_python_or_pytorch_is_told_first_with_the_command_that_mends_it(old, told):
    said, code = run(f'{old}\nimport ssn_mm', 'tools/train.py')
    assert (code, said.count('\n')) == (2, 2)
    assert told in said
    assert '-m venv' in said or "pip install 'torch>=2.6'" in said
    said, code = run(f'{old}\nimport ssn_mm')
    assert code == 1
    assert 'ImportError: ssn_mm needs' in said


def test_packages_older_than_the_metadata_allows_are_told_together(monkeypatch):
    needed = ['numpy>=1.26; extra == "tools"', 'mmengine<1,>=0.10.4', 'mmpretrain<1.3,>=1.2']
    there = {'numpy': '1.24.4', 'mmengine': '0.10.3', 'mmpretrain': '1.4.0rc1'}
    monkeypatch.setattr(environment, 'requires', lambda name: needed)
    monkeypatch.setattr(environment, '_version', lambda name: there.get(name, ''))
    with pytest.raises(ImportError) as error:
        environment.check_environment()
    first, command = str(error.value).splitlines()
    assert first.startswith('too old for ssn_mm: numpy 1.24.4, mmengine 0.10.3. ')
    assert command.endswith("-m pip install 'numpy>=1.26' 'mmengine<1,>=0.10.4'")


def test_a_package_that_is_newer_or_absent_is_no_error(monkeypatch):
    monkeypatch.setattr(environment, 'requires', lambda name: ['numpy>=1.26', 'scipy>=99'])
    monkeypatch.setattr(environment, '_version', lambda name: '3.0rc1' if name == 'numpy' else '')
    environment.check_environment()


def test_a_python_without_distutils_is_told_what_brings_it(monkeypatch):
    find = environment.find_spec
    hidden = lambda name: None if name == 'distutils' else find(name)  # noqa: E731
    monkeypatch.setattr(environment, 'find_spec', hidden)
    with pytest.raises(ImportError, match=r'distutils, .* pip install setuptools'):
        environment.check_environment()
