"""``kill -9`` at random moments of a training, each time resumed."""

import random
import time
from collections import Counter

import killable
import torch
from torch.utils._pytree import tree_leaves

from ssn_mm.engine.ratios import read_ratios

INTERVAL = 2  # iterations between checkpoints, of 14
KILLS, LONG = 25, 500
WRITES = ('checkpoint', 'pointer', 'ratios')  # of killable.py's words: a file is half written
STATE = ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers')


def finish(process, folder, timeout=120):
    process.join(timeout)
    process.kill()
    process.join()
    assert process.exitcode == 0, (folder / 'output').read_text()[-3000:]


def told(folder):
    """Words of the progress file's lines."""
    file = folder / 'progress'
    return [line.split() for line in file.read_text().splitlines()] if file.is_file() else []


def state(folder):
    checkpoint = torch.load((folder / 'last_checkpoint').read_text(), weights_only=True)
    return {key: checkpoint[key] for key in STATE}


def check_starts(lines):
    """Each start goes on where the one before was, less the interval at most."""
    done = 0
    for what, *number in lines:
        if what in ('begin', 'iteration'):
            assert int(number[0]) >= done - INTERVAL
            done = int(number[0])
    assert done == 14


def test_a_killed_training_loses_an_interval_at_most_and_ends_the_same(tmp_path, fork, long):
    def start(folder, resume):
        return fork(killable.train, folder, INTERVAL, resume)

    whole, timed = tmp_path / 'whole', tmp_path / 'timed'
    finish(start(whole, False), whole)  # waits for the imports, too
    begun = time.monotonic()
    finish(start(timed, False), timed)
    duration = time.monotonic() - begun
    moments, hit, trainings = random.Random(0), Counter(), 0
    most = LONG if long else KILLS
    while hit.total() < most:
        folder = tmp_path / str(trainings)
        while (process := start(folder, folder.exists())) and hit.total() < most:
            process.join(moments.uniform(0, duration))
            if not process.is_alive():
                duration *= 0.8  # follows a machine that others slow down
                break
            process.kill()
            process.join()
            phase = told(folder)[-1][0] if told(folder) else 'start'
            hit[phase] += 1
            duration *= 1.1 if phase in ('start', 'build') else 1
        finish(process, folder)
        check_starts(told(folder))
        assert_same(folder, whole)
        trainings += 1
    print(dict(hit), trainings, 'trainings')
    assert sum(hit[what] for what in WRITES) > 0
    assert len(hit) > 3


def assert_same(folder, whole):
    """Bit for bit, and nothing is left lying about."""
    for one, other in zip(tree_leaves(state(folder)), tree_leaves(state(whole)), strict=True):
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
    ratios = [(f / 'ssn_ratios.jsonl').read_text() for f in (folder, whole)]
    assert ratios[0] == ratios[1]
    assert read_ratios(folder).iters[-1] == 14
    assert not list(folder.glob('.*'))
