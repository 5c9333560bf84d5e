"""A training that tells a file how far it is, and is slow where a kill would hurt."""

import os
import time
from pathlib import Path

PAUSE = 0.02  # seconds: of the length of an iteration, so that kills hit what takes microseconds


def train(folder, interval, resume):
    """The training of resumed.py, for a process of its own."""
    folder.mkdir(exist_ok=True)
    output = os.open(folder / 'output', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)

    import torch
    from resumed import train as run  # not for the process that kills

    torch.set_num_threads(1)
    tell = _slow_down(folder)
    tell('build')
    run(folder, 'iterations', hooks=[_progress(tell)], interval=interval, keep=2, resume=resume)
    tell('end')


def _progress(tell):
    from mmengine.hooks import Hook

    class Progress(Hook):
        priority = 'LOWEST'  # an iteration ends with its checkpoint

        def before_train(self, runner):
            tell(f'begin {runner.iter}')

        def after_train_iter(self, runner, *_, **__):
            tell(f'iteration {runner.iter + 1}')

    return Progress()


def _slow_down(folder):
    """Pauses within a write of a checkpoint, of its pointer and of ratios; returns ``tell``."""
    from mmengine.hooks import checkpoint_hook

    from ssn_mm.engine.hooks import ratios_hook

    progress = os.open(folder / 'progress', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    append, sync = ratios_hook.append_ratios, os.fsync

    def tell(what):
        os.write(progress, f'{what}\n'.encode())

    def pause(what):
        tell(what)
        time.sleep(PAUSE)

    def fsync(file):
        pause('checkpoint')
        sync(file)
        tell('written')

    def open_slowly(file, mode='r'):
        opened = open(file, mode)  # noqa: SIM115, as what it stands for
        if mode == 'w':  # now it is empty
            pause('pointer')
        return opened

    def append_slowly(path, *record):
        apart = folder / 'record'
        apart.unlink(missing_ok=True)
        append(apart, *record)
        line = apart.read_text()
        for half in (line[: len(line) // 2], line[len(line) // 2 :]):
            with Path(path).open('a') as file:
                file.write(half)
            pause('ratios')

    os.fsync = fsync
    checkpoint_hook.open = open_slowly
    ratios_hook.append_ratios = append_slowly
    return tell
