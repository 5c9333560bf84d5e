"""Files made to do harm, given to the tools: refused with a message, and nothing of them runs."""

import os
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
DEMO = ROOT / 'configs' / 'demo' / 'resnet_ssn_digits.py'


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
        for key, value in (('data_root', folder / 'digits'), ('num_train', 10), ('num_val', 10))
    ]
    return ['--cfg-options', *data]


def test_a_pickle_bomb_is_refused_by_every_tool_and_every_loader_and_runs_nothing(bomb, run_tools):
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
        [tools / 'recalibrate.py', DEMO, file, *options],
        [tools / 'publish_model.py', file, '--config', DEMO],
        [tools / 'model_converters/convert.py', DEMO, file, bomb / 'out.pth'],
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


def test_trusting_a_checkpoint_is_the_only_way_round(bomb, run_tools):
    """And it shows that the bomb works."""
    ((code, said),) = run_tools(
        bomb, [ROOT / 'tools/test.py', DEMO, bomb / 'bomb.pth', '--trust-checkpoint', *small(bomb)]
    )
    assert (bomb / 'exploded').exists(), (code, said[-2000:])


def test_a_checkpoint_that_was_cut_short_is_named(tmp_path, run_tools):
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
