import faulthandler
import os
import signal
import time

import pytest

from ssn_mm.datasets.pool import Failure, map_in_processes


def work(item):
    faulthandler.disable()  # pytest's: it would print the crash
    if item == 'crash':
        os.kill(os.getpid(), signal.SIGSEGV)
    if item == 'exit':
        os._exit(3)
    if item == 'hang':
        time.sleep(60)
    if item == 'raise':
        raise ValueError('a bad item')
    return os.getpid(), item * 2


@pytest.mark.parametrize('workers', [1, 3, 50])
def test_every_item_gets_its_result(workers):
    results = dict(map_in_processes(work, range(20), workers))
    assert {item: result[1] for item, result in results.items()} == {i: 2 * i for i in range(20)}
    assert len({result[0] for result in results.values()}) <= min(workers, 20)
    assert os.getpid() not in {result[0] for result in results.values()}


def test_no_items_give_no_results():
    assert list(map_in_processes(work, [], 2)) == []


@pytest.mark.parametrize('workers', [1, 2])
def test_a_dead_process_is_its_items_result_and_the_rest_goes_on(workers):
    items = ['a', 'crash', 'b', 'exit', 'raise', 'crash', 'c']
    results = list(map_in_processes(work, items, workers))
    assert sorted(item for item, _ in results) == sorted(items)
    failures = {item: result.reason for item, result in results if isinstance(result, Failure)}
    assert set(failures) == {'crash', 'exit', 'raise'}
    assert 'SIGSEGV' in failures['crash']
    assert 'exit code 3' in failures['exit']
    assert failures['raise'] == 'ValueError: a bad item'
    assert {result[1] for item, result in results if item in 'abc'} == {'aa', 'bb', 'cc'}


def test_an_item_that_hangs_is_given_up_and_the_rest_goes_on():
    begin = time.monotonic()
    results = dict(map_in_processes(work, ['hang', 'a', 'b'], 1, timeout=3))
    assert time.monotonic() - begin < 30
    assert results['hang'] == Failure('was stopped after 3 s')
    assert results['b'][1] == 'bb'


def test_no_process_outlives_a_caller_that_stops_early():
    results = map_in_processes(work, ['a', 'hang', 'b'], 2)
    _, (pid, _) = next(results)
    results.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
