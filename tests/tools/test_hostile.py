"""Files made to do harm, given to the tools: refused with a message, and nothing of them runs."""

import os
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
DEMO = ROOT / 'configs' / 'demo' / 'resnet_ssn_digits.py'
# the tools one after the other in one process each would mostly import; exit codes are printed
TOOLS = """
import runpy, sys, traceback
for line in sys.stdin.read().splitlines():
    tool, *arguments = line.split('\\t')
    print('=====', flush=True)
    print('=====', file=sys.stderr, flush=True)
    sys.argv = [tool, *arguments]
    try:
        runpy.run_path(tool, run_name='__main__')
        code = 0
    except SystemExit as error:
        code = error.code
    except BaseException:
        traceback.print_exc()
        code = 1
    print('code', code, flush=True)
"""


class Bomb:
    """Its unpickling would create a file."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f'touch {self.mark}',)


@pytest.fixture(scope='module')
def bomb(tmp_path_factory):
    folder = tmp_path_factory.mktemp('bomb')
    torch.save({'state_dict': {}, 'meta': Bomb(folder / 'exploded')}, folder / 'bomb.pth')
    return folder


def small(folder):
    data = [
        f'{loader}_dataloader.dataset.{key}={value}'
        for loader in ('train', 'val', 'test')
        for key, value in (('data_root', folder / 'world'), ('num_train', 10), ('num_val', 10))
    ]
    return ['--cfg-options', *data]


def run_tools(folder, *commands):
    """Exit code and what was said on stderr, of each."""
    lines = '\n'.join('\t'.join(map(str, command)) for command in commands)
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', TOOLS], cwd=folder, input=lines, text=True,
        capture_output=True, timeout=300, env=os.environ | {'TORCH_HOME': str(folder)},
    )  # fmt: skip
    codes = [part.rpartition('code ')[2].split()[0] for part in done.stdout.split('=====\n')[1:]]
    return list(zip(map(int, codes), done.stderr.split('=====\n')[1:], strict=True))


def test_a_pickle_bomb_is_refused_by_every_tool_and_every_loader_and_runs_nothing(bomb):
    handler = partial(SimpleHTTPRequestHandler, directory=str(bomb))
    server = ThreadingHTTPServer(('127.0.0.1', 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    file, tools = bomb / 'bomb.pth', ROOT / 'tools'
    (bomb / 'resumed').mkdir()
    (bomb / 'resumed/iter_1.pth').write_bytes(file.read_bytes())
    (bomb / 'resumed/last_checkpoint').write_text(str(bomb / 'resumed/iter_1.pth'))
    pretrained = 'model.init_cfg.type=Pretrained'
    options = small(bomb)
    url = f'http://127.0.0.1:{server.server_port}/bomb.pth'
    commands = [
        [tools / 'test.py', DEMO, file, *options],
        [tools / 'deploy.py', DEMO, file],
        [tools / 'infer.py', DEMO, file, bomb / 'none.png'],
        [tools / 'train.py', DEMO, *options, f'load_from={file}'],
        [tools / 'train.py', DEMO, *options, pretrained, f'model.init_cfg.checkpoint={file}'],
        [tools / 'train.py', DEMO, *options, pretrained, f'model.init_cfg.checkpoint={url}'],
        [tools / 'train.py', DEMO, '--resume', '--work-dir', bomb / 'resumed', *options],
    ]
    for number, command in enumerate(commands):
        if '--cfg-options' in command:  # mmengine names a run by the second it begins in
            command.append(f'experiment_name=run{number}')
    results = run_tools(bomb, *commands)
    server.shutdown()
    assert len(results) == len(commands)
    for command, (code, said) in zip(commands, results, strict=True):
        assert code == 2, (command, said[-2000:])
        assert 'holds more than weights, posix.system, and was refused' in said, command
        assert '--trust-checkpoint' in said
    assert not (bomb / 'exploded').exists()


def test_trusting_a_checkpoint_is_the_only_way_round(bomb):
    """And it shows that the bomb works."""
    ((code, said),) = run_tools(
        bomb, [ROOT / 'tools/test.py', DEMO, bomb / 'bomb.pth', '--trust-checkpoint', *small(bomb)]
    )
    assert (bomb / 'exploded').exists(), (code, said[-2000:])


def test_a_checkpoint_that_was_cut_short_is_named(tmp_path):
    file = tmp_path / 'half.pth'
    torch.save({'state_dict': {'a': torch.zeros(1000)}}, file)
    file.write_bytes(file.read_bytes()[:2000])
    commands = [
        [ROOT / 'tools/test.py', DEMO, file],
        [ROOT / 'tools/deploy.py', DEMO, file],
        [ROOT / 'tools/infer.py', DEMO, file, tmp_path / 'none.png'],
    ]
    for code, said in run_tools(tmp_path, *commands):
        assert code == 2
        assert 'half.pth is damaged (cut short or altered)' in said
