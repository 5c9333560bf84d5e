"""What a long training holds stays as it was: no leak in a hook, in a log or in a file."""

import json

import numpy as np
import pytest
import soaked

from ssn_mm.engine.ratios import read_ratios

ITERATIONS = 1000
BYTES = 2048  # of memory that may come with an iteration; a batch has 12 kB
OBJECTS = 0.2  # that may stay of an iteration; a tensor of one layer would be 1


def soak(fork, folder, iterations, leak=None):
    """What ``soaked.Holdings`` saw, an array each, after the first fifth."""
    process = fork(soaked.train, folder, iterations, leak)
    process.join(500)
    assert process.exitcode == 0, (folder / 'output').read_text()[-3000:]
    seen = [json.loads(line) for line in (folder / 'run/holdings.jsonl').open()]
    seen = [record for record in seen if record['iter'] > iterations // 5]
    return {key: np.array([record[key] for record in seen]) for key in seen[0]}


def growth(seen, what):
    """Per iteration, as a straight line has it."""
    return np.polyfit(seen['iter'], seen[what], 1)[0]


def test_a_thousand_iterations_hold_no_more_than_the_first(tmp_path, fork):
    seen = soak(fork, tmp_path, ITERATIONS)
    print({what: growth(seen, what) for what in ('memory', 'objects')})
    assert growth(seen, 'memory') < BYTES
    assert growth(seen, 'objects') < OBJECTS
    for what in ('files', 'threads'):
        assert len(set(seen[what])) == 1, seen[what]
    check_files(tmp_path / 'run')


def check_files(run):
    """Logs grow by a record an interval, checkpoints by mmengine's history of scalars alone."""
    records = ITERATIONS // soaked.EVERY
    ratios = run / 'ssn_ratios.jsonl'
    assert len(read_ratios(run).iters) == records
    assert ratios.stat().st_size < 400 * (records + 1)  # 5 layers
    (scalars,) = run.glob('*/vis_data/scalars.json')
    assert len(scalars.read_text().splitlines()) == records + 1  # and the evaluation
    assert scalars.stat().st_size < 400 * (records + 1)
    sizes = [(run / f'iter_{i}.pth').stat().st_size for i in (200, 600, 1000)]
    assert max(np.diff(sizes)) < 400 * 8 * 16, sizes  # at most 8 scalars, a value and a count


MORE = [pytest.param(leak, marks=pytest.mark.long) for leak in soaked.LEAKS[1:]]


@pytest.mark.parametrize('leak', [soaked.LEAKS[0], *MORE])
def test_the_measure_sees_what_is_kept_of_every_iteration(tmp_path, fork, leak):
    seen = soak(fork, tmp_path, 200, leak)
    print({what: growth(seen, what) for what in ('memory', 'objects')})
    assert growth(seen, 'objects') > 10 * OBJECTS
    if leak == 'batches':
        assert growth(seen, 'memory') > 2 * BYTES
