import json
import random
import sys

import numpy as np
import pytest
import torch

from ssn_mm import get_backend, set_backend
from ssn_mm.timing import rounds
from ssn_mm.timing.rounds import Competitor, compare, interleave, measure, peak_bytes


@pytest.fixture
def clock(monkeypatch):
    """Makes competitors that take given seconds of a clock that nothing else moves."""
    now = [0.0]
    monkeypatch.setattr(rounds.time, 'perf_counter', lambda: now[0])

    def competitor(**phases):
        def take(seconds):
            now[0] += seconds() if callable(seconds) else seconds

        return Competitor({name: lambda s=s: take(s) for name, s in phases.items()})

    return competitor


def test_phases_are_timed_apart_and_summed(clock):
    times = interleave(dict(a=clock(forward=1.0, backward=2.5), b=clock(step=4.0)), rounds=3)
    assert times['a']['forward'].tolist() == [1.0] * 3
    assert times['a']['backward'].tolist() == [2.5] * 3
    assert times['a']['total'].tolist() == [3.5] * 3
    assert times['b']['total'].tolist() == [4.0] * 3


def test_calls_in_a_row_are_averaged(clock):
    lasts = iter([9.0, 1.0, 2.0, 3.0])  # the first is the warm-up
    times = interleave(dict(a=clock(step=lambda: next(lasts))), rounds=1, calls=3)
    assert times['a']['step'].tolist() == [2.0]


@pytest.mark.parametrize(('seconds', 'rounds'), [(0, 2), (5, 2), (10, 3), (30, 10)])
def test_rounds_go_on_while_the_next_one_fits(clock, seconds, rounds):
    times = interleave(dict(a=clock(step=1.0), b=clock(step=2.0)), rounds=2, seconds=seconds + 0.1)
    assert len(times['a']['total']) == len(times['b']['total']) == rounds


def test_every_round_runs_each_competitor_once_in_a_new_order():
    def order(seed):
        calls = []
        own = {n: Competitor(dict(step=lambda n=n: calls.append(n))) for n in 'abcd'}
        interleave(own, rounds=8, warmup=1, seed=seed)
        return [''.join(calls[i : i + 4]) for i in range(4, len(calls), 4)]

    rounds = order(0)
    assert len(rounds) == 8
    assert all(sorted(r) == list('abcd') for r in rounds)
    assert len(set(rounds)) > 3
    assert rounds == order(0)
    assert rounds != order(1)


def test_preparing_is_not_timed(clock):
    slow = clock(step=5.0)
    timed = Competitor(clock(step=1.0).phases, prepare=slow.phases['step'])
    assert interleave(dict(a=timed), rounds=2)['a']['total'].tolist() == [1.0, 1.0]


def test_ratios_are_taken_within_a_round_and_so_resist_drift():
    drift = np.array([1.0, 5.0, 2.0, 30.0, 1.0])
    ratio = compare(dict(total=2 * drift), dict(total=drift))['total']
    assert ratio == pytest.approx(dict(p20=2, median=2, p80=2))


def test_quantiles_of_fabricated_timings():
    assert rounds.quantiles(np.arange(11.0)) == dict(p20=2.0, median=5.0, p80=8.0)


def test_a_phase_the_baseline_lacks_is_compared_with_its_total():
    own = dict(forward=np.array([6.0]), backward=np.array([8.0]))
    ratio = compare(own, dict(forward=np.array([2.0]), total=np.array([4.0])))
    assert (ratio['forward']['median'], ratio['backward']['median']) == (3.0, 2.0)


def test_backend_is_set_while_its_competitor_runs(monkeypatch):
    monkeypatch.setenv('SSN_MM_BACKEND', 'reference')  # of the user
    seen = {}

    def look(name, backend):
        def step():
            seen[name] = get_backend()

        return Competitor(dict(step=step), backend=backend)

    interleave(dict(a=look('a', None), b=look('b', 'cpu')), rounds=1)
    assert seen == dict(a='', b='cpu')
    assert get_backend() == 'reference'


def test_a_backend_that_is_not_there_is_a_users_error():
    def step():
        raise RuntimeError('no compiler')

    with pytest.raises(ValueError, match=r"'b'.*backend 'cpp': no compiler"):
        interleave(dict(b=Competitor(dict(step=step), backend='cpp')))
    with pytest.raises(RuntimeError, match='no compiler'):
        interleave(dict(b=Competitor(dict(step=step))))


@pytest.mark.parametrize(
    ('phases', 'options', 'message'),
    [
        ({}, {}, r"'a' needs phases.*got \[\]"),
        (dict(total=print), {}, r"called 'total'.*got \['total'\]"),
        (dict(step=print), dict(rounds=0), 'at least 1, got 0 and 1'),
        (dict(step=print), dict(calls=-1), 'at least 1, got 5 and -1'),
    ],
)
def test_what_cannot_be_measured_is_refused(phases, options, message):
    with pytest.raises(ValueError, match=message):
        interleave(dict(a=Competitor(phases)), **options)


def test_peak_counts_live_bytes_only():
    held = []

    def allocate():
        a = torch.empty(1000, 1000)  # 4 MB
        b = torch.empty(2000, 1000)  # 12 MB together
        del a
        held.append(b)
        held.append(torch.empty(500, 1000))  # 10 MB

    peak = peak_bytes(Competitor(dict(step=allocate), prepare=held.clear))
    assert peak == pytest.approx(12e6, rel=0.01)


def test_peak_of_a_backward_pass_and_of_a_temporary():
    x = torch.randn(64, 1000, 10, requires_grad=True)  # 2.56 MB
    own = {}

    def prepare():
        x.grad = None

    def forward():
        own['y'] = x.exp()  # keeps y

    def backward():
        own.pop('y').sum().backward()

    peak = peak_bytes(Competitor(dict(forward=forward, backward=backward), prepare))
    assert 2 * 2.56e6 <= peak <= 3.1 * 2.56e6  # y and x.grad, perhaps a gradient on its way


def test_measuring_memory_leaves_stderr_alone(capfd):
    peak_bytes(Competitor(dict(step=lambda: torch.empty(10))))
    print('still here', file=sys.stderr)
    assert capfd.readouterr().err == 'still here\n'


def test_rows_hold_ratios_memory_and_why_somebody_is_missing():
    sizes = dict(BN=1000, SSN=3000)
    own = {n: Competitor(dict(step=lambda s=s: torch.empty(s, 100))) for n, s in sizes.items()}
    case = dict(shape=[1, 2])
    found = measure(case, own | dict(IN='one element'), ('BN', 'GN'), rounds=4)
    assert [r['competitor'] for r in found] == ['BN', 'SSN', 'IN']
    assert found == json.loads(json.dumps(found))
    base, other, missing = found
    one = dict(p20=1, median=1, p80=1)
    assert base['ratio'] == dict(BN=dict(step=one, total=one))
    assert base['rounds'] == other['rounds'] == 4
    assert other['peak_ratio'] == pytest.approx(dict(BN=3), rel=0.01)
    assert (missing['note'], missing['seconds'], missing['peak_bytes']) == (
        'one element',
        None,
        None,
    )


def test_what_measures_gives_back_the_backend_that_was_named():
    seen = []
    competitor = Competitor(dict(step=lambda: seen.append(get_backend())), backend='reference')
    before = set_backend('cpu')
    try:
        interleave(dict(a=competitor), rounds=1)
        assert (seen[-1], get_backend()) == ('reference', 'cpu')
        set_backend(None)
        peak_bytes(competitor)
        assert set_backend(None) is None
    finally:
        set_backend(before)


def test_shuffling_leaves_the_global_generators_alone():
    random.seed(1)
    expected = random.Random(1).random()
    interleave({n: Competitor(dict(step=int)) for n in 'ab'}, rounds=3)
    assert random.random() == expected
