import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOL = [sys.executable, ROOT / 'tools/check_data.py']
DEMO = ROOT / 'configs/demo/deeplab_ssn_digits.py'


@pytest.fixture(scope='module')
def digits(tmp_path_factory):
    """Options of the demo's data, drawn small."""
    root = tmp_path_factory.mktemp('data') / 'ade'
    return root, [
        f'{loader}_dataloader.dataset.{key}={value}'
        for loader in ('train', 'val', 'test')
        for key, value in (('data_root', root), ('num_train', 40), ('num_val', 30), ('size', 64))
    ]


def test_the_demos_data_is_drawn_counted_and_without_fault(run_tool, digits, tmp_path):
    root, options = digits
    code, output = run_tool(
        *TOOL, DEMO, '--json', 'found.json', '--workers', 2, '--cfg-options', *options
    )
    assert code == 0, output
    assert 'No fault in 70 samples of train, val' in output
    assert 'test: the same data as val' in output
    assert 'background' in output
    splits = json.loads((tmp_path / 'found.json').read_text())['splits']
    assert splits['train']['samples'] == 40
    assert sum(splits['train']['counts'].values()) == 40 * 64 * 64
    assert splits['val']['faults'] == []
    assert (root / 'meta.json').is_file()


def test_faults_are_lines_in_the_output_and_exit_code_1(run_tool, digits, tmp_path):
    root, options = digits
    run_tool(*TOOL, DEMO, '--split', 'val', '--limit', 1, '--cfg-options', *options)
    scenes = sorted((root / 'images/validation').iterdir())
    kept = [scene.read_bytes() for scene in scenes]
    try:
        for scene in scenes[:12]:
            scene.write_bytes(b'')
        command = [*TOOL, DEMO, '--split', 'val', '--json', 'found.json']
        code, output = run_tool(*command, '--cfg-options', *options)
    finally:
        for scene, data in zip(scenes, kept, strict=True):
            scene.write_bytes(data)
    assert code == 1, output
    assert f'val: zero bytes: {scenes[0]}: the file is empty\n' in output
    assert output.count(': the file is empty\n') == 10
    assert 'val: zero bytes: and 2 more' in output
    assert '12 faults in 30 samples of val: 12 zero bytes' in output
    found = json.loads((tmp_path / 'found.json').read_text())['splits']['val']['faults']
    assert [fault['file'] for fault in found] == [str(scene) for scene in scenes[:12]]


def test_help_explains_every_flag_and_the_exit_codes(run_tool):
    code, output = run_tool(*TOOL, '--help')
    assert code == 0
    flags = ['--cfg-options', '--split', '--workers', '--limit', '--json', 'exit code']
    assert all(flag in output for flag in flags)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['configs/nothing.py'], "no config file 'configs/nothing.py'"),
        ([DEMO, '--split', 'all'], "invalid choice: 'all'"),
        ([DEMO, '--workers', '0'], 'workers must be at least 1, got 0'),
        ([DEMO, '--json', DEMO / 'found.json'], 'is a file, so nothing can be written to'),
        ([ROOT / 'configs/deeplab_ssn_ade20k.py'], 'ADE20K (SceneParse150'),
    ],
)
def test_a_users_error_is_a_message_and_exit_code_2(run_tool, arguments, message):
    code, output = run_tool(*TOOL, *arguments)
    assert code == 2
    assert message in output
    assert 'Traceback' not in output
