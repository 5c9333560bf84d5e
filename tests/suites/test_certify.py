"""Results of another code that one training shows to be equal."""

import json
import sys
from pathlib import Path

import pytest
from recorded import make_ratios
from suites_of_text import TRAINER, go, reached

from ssn_mm.suites import provenance
from ssn_mm.suites.certify import unequal
from ssn_mm.suites.job import read_result, write_result
from ssn_mm.suites.results import read_results, results_of_suite, write_results
from ssn_mm.suites.tables import mixed, notes
from ssn_mm.suites.training import pack

ROOT = Path(__file__).parents[2]


@pytest.fixture
def moved(monkeypatch):
    """Has the package be another code from then on."""
    return lambda name='other': monkeypatch.setattr(provenance, '_code', lambda: name)


def results(tmp_path):
    return {file.parent.name: read_result(file.parent) for file in tmp_path.glob('runs/*/*.json')}


def test_one_equal_training_certifies_all_results_of_a_code(suite, tmp_path, moved):
    grid = suite()
    go(grid, tmp_path)
    before = results(tmp_path)
    moved()
    with pytest.raises(ValueError, match=r'4 results .* another provenance .*--stale certify'):
        go(grid, tmp_path)
    trained = []
    rows = go(grid, tmp_path, stale='certify', tell=lambda states: trained.append(dict(states)))
    assert {name for states in trained for name, s in states.items() if s == 'running'} <= {
        'BN-seed0', 'SSN-seed0', 'BN-seed1', 'SSN-seed1',
    }  # fmt: skip
    assert len({n for states in trained for n, s in states.items() if s != 'done'}) <= 1
    assert sorted(path.name for path in (tmp_path / 'runs').glob('*-*')) == sorted(before)
    for row in rows:
        old = before[row['run']]
        (own,) = row['certified']
        assert own['provenance'] == old['provenance']
        assert own['by'] in before
        assert 'date' in own['environment']
        assert row['provenance'] == old['provenance'] | dict(code='other')
        assert row == old | dict(provenance=row['provenance'], certified=[own])
    assert mixed(results_of_suite(grid, rows)) == []
    (told,) = notes(results_of_suite(grid, rows))
    assert told.startswith('4 results were measured with code ')
    assert go(grid, tmp_path) == rows
    moved('third')
    assert len(go(grid, tmp_path, stale='certify')[0]['certified']) == 2


def test_a_training_that_reaches_something_else_certifies_nothing(suite, tmp_path, moved):
    grid = suite()
    go(grid, tmp_path)
    before = results(tmp_path)
    moved()
    (tmp_path / 'train.py').write_text(TRAINER.replace('base +', 'base + 1 +'))
    with pytest.raises(ValueError, match=r'reached something else \(metrics: .*the curve of acc'):
        go(grid, tmp_path, stale='certify')
    assert results(tmp_path).items() >= before.items()
    (tmp_path / 'train.py').write_text('raise SystemExit(3)')
    with pytest.raises(ValueError, match=r'failed \(training ended with exit code 3\)'):
        go(grid, tmp_path, stale='certify')
    assert results(tmp_path).items() >= before.items()


def test_what_differs_in_more_than_code_is_not_certified(suite, tmp_path, moved):
    grid = suite(seeds=[0])
    go(grid, tmp_path)
    moved()
    (tmp_path / 'bn.py').write_text('base = 50\n')
    with pytest.raises(ValueError, match=r'^1 results .* BN-seed0 \(code .*, config '):
        go(grid, tmp_path, stale='certify')
    found = results(tmp_path)
    assert 'certified' not in found['BN-seed0']
    assert found['SSN-seed0']['provenance']['code'] == 'other'


def test_the_cheapest_with_ssn_layers_is_trained_again(suite, tmp_path, moved):
    grid = suite()
    for row in go(grid, tmp_path):
        ssn = row['label'] == 'SSN'
        row['seconds'] = dict(BN=1, SSN=20)[row['label']] - row['seed']
        row['ratios'] = pack(make_ratios(sparse=ssn)) if ssn else None
        write_result(tmp_path / 'runs' / row['run'], row)
    moved()
    with pytest.raises(ValueError, match=r'SSN-seed1 reached something else .*the ratios'):
        go(grid, tmp_path, stale='certify')


def test_what_differs_between_results_is_told_with_its_iteration():
    ratios = pack(make_ratios())
    one = dict(data='d', metrics={'acc': float('nan')}, curves={'loss': [[1, 2], [3.0, 4.0]]})
    one['ratios'] = ratios
    assert unequal(one, json.loads(json.dumps(one))) == []
    other = json.loads(json.dumps(one)) | dict(data='e')
    other['curves']['loss'][1][1] = 4.1
    other['ratios']['ratios'][3][0][0][0] += 1e-4
    assert unequal(one, other) == [
        'data: "e" in place of "d"',
        'the curve of loss from iteration 2 on',
        'the ratios from iteration 40 on',
    ]
    assert unequal(one, one | dict(ratios=None)) == ['the ratios']
    assert unequal(one, one | dict(trained='a')) == []
    assert unequal(one | dict(trained='b'), one | dict(trained='a')) == ['the trained weights']


def test_results_of_0_1_are_read_and_written_with_todays_names(suite, tmp_path):
    grid = suite(seeds=[0])
    rows = go(grid, tmp_path)
    write_results(tmp_path / 'results.jsonl', results_of_suite(grid, rows))
    for file in (*tmp_path.glob('runs/*/result.json'), tmp_path / 'results.jsonl'):
        file.write_text(file.read_text().replace('"provenance"', '"versions"'))
    assert go(grid, tmp_path) == rows
    assert list(read_results(tmp_path / 'results.jsonl').rows) == rows
    write_results(tmp_path / 'results.jsonl', read_results(tmp_path / 'results.jsonl'))
    assert '"versions"' not in (tmp_path / 'results.jsonl').read_text()


def test_the_tool_goes_on_from_the_results_that_it_wrote(suite, tmp_path, run_tool):
    grid = suite(seeds=[0])
    write_results(tmp_path / 'results.jsonl', results_of_suite(grid, go(grid, tmp_path)))
    before = (tmp_path / 'results.jsonl').read_text()
    tool = [sys.executable, ROOT / 'tools/run_suite.py', 'grid.py', '--out', 'results.jsonl']
    code, output = run_tool(*tool, '--work-dir', 'elsewhere')
    assert code == 0, output
    assert reached([read_result(tmp_path / 'elsewhere/grid/SSN-seed0')]) == {'SSN-seed0': 20}
    assert (tmp_path / 'results.jsonl').read_text() == before
    (tmp_path / 'other.json').write_text(
        json.dumps(dict(title='B', configs=dict(BN='bn.py'), seeds=[0], metrics=['acc']))
    )
    code, output = run_tool(*tool[:2], 'other.json', *tool[3:])
    assert (code, "are of 'grid', the suite is 'other'" in output) == (2, True)
