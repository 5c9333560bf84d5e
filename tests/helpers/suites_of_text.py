"""A suite whose trainings take no time: numbers from short texts in the place of networks."""

import sys

import pytest

from ssn_mm.suites.job import Commands
from ssn_mm.suites.queue import Machine
from ssn_mm.suites.runs import run_suite
from ssn_mm.suites.suite import read_suite

# in the place of tools/train.py: validates twice, reaches base + more + the seed's square
TRAINER = """
import json, sys, time
from pathlib import Path
config, _, folder = sys.argv[1:]
base, more, pause, fail, load_from, randomness = 0, 0, 0, '', None, {}
exec(Path(config).read_text())
logs = Path(folder) / '20260101_000000/vis_data'
logs.mkdir(parents=True)
if load_from:
    base = float(Path(load_from).read_text())
for step in (1, 2):
    print('step', step, flush=True)
    time.sleep(pause)
    if step == 2 and fail:
        raise RuntimeError(fail)
    value = base + more + randomness['seed'] ** 2 * step / 2
    with (logs / 'scalars.json').open('a') as file:
        file.write(json.dumps(dict(loss=1 / step, time=0.01, step=step)) + '\\n')
        file.write(json.dumps(dict(acc=value, step=step)) + '\\n')
checkpoint = Path(folder, 'last.pth')
checkpoint.write_text(str(value))
Path(folder, 'last_checkpoint').write_text(str(checkpoint))
"""
# in the place of tools/test.py: a tenth more than the checkpoint
TESTER = """
import json, sys
from pathlib import Path
config, checkpoint, _, folder, *flags = sys.argv[1:]
place = Path(folder) / 't'
place.mkdir(parents=True)
(place / 't.json').write_text(json.dumps(dict(acc=float(Path(checkpoint).read_text()) * 1.1)))
assert flags == ['--tta']
"""


@pytest.fixture(name='suite')
def _suite(tmp_path):
    """Writes a suite of two configs; returns how to read it with changes."""
    (tmp_path / 'train.py').write_text(TRAINER)
    (tmp_path / 'test.py').write_text(TESTER)
    for name, base in dict(bn=10, ssn=20).items():
        (tmp_path / f'{name}.py').write_text(f'base = {base}\n')

    def write(**changes):
        stated = dict(
            title='A grid', configs=dict(BN='bn.py', SSN='ssn.py'), seeds=[0, 1], metrics=['acc']
        )
        stated |= changes
        lines = [f'{key} = {value!r}' for key, value in stated.items() if value is not None]
        (tmp_path / 'grid.py').write_text('\n'.join(lines))
        return read_suite(tmp_path / 'grid.py')

    return write


HERE = Machine(cluster='debug')


def go(suite, tmp_path, folder='runs', machine=HERE, **options):
    tools = [(sys.executable, tmp_path / name) for name in ('train.py', 'test.py')]
    return run_suite(suite, tmp_path / folder, Commands(*tools), machine, **options)


def reached(rows):
    return {row['run']: row['metrics']['acc'] for row in rows if row['status'] == 'done'}
