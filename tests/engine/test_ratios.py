import json

import numpy as np
import pytest

from ssn_mm.engine import read_ratios
from ssn_mm.engine.ratios import start_ratios


@pytest.fixture
def run(tmp_path):
    header = dict(layers=['a', 'b'], normalizers=[['IN', 'BN'], ['BN', 'LN', 'IN']])
    ratios = [
        [[[0.5, 0.5], [0.4, 0.6]], [[0.2, 0.3, 0.5], [1, 0, 0]]],
        [[[0, 1], [1, 0]], [[0, 0, 1], [1, 0, 0]]],
    ]
    records = [
        dict(iter=i, radius=r, ratios=p) for i, r, p in zip((5, 10), (0.3, 1), ratios, strict=True)
    ]
    (tmp_path / 'ssn_ratios.jsonl').write_text(
        ''.join(json.dumps(line) + '\n' for line in [header, *records]) + '{"iter": 15, "ra'
    )
    return tmp_path


def test_layers_with_different_normalizers_share_one_table(run):
    found = read_ratios(run)
    assert found.normalizers == ['IN', 'BN', 'LN']
    assert found.iters.tolist() == [5, 10]
    np.testing.assert_allclose(found.ratios.sum(-1), np.ones((2, 2, 2)))
    assert found.ratios[0, 1].tolist() == [[0.5, 0.2, 0.3], [0, 1, 0]]


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match='no ratios at'):
        read_ratios(tmp_path)
    (tmp_path / 'ssn_ratios.jsonl').write_text('{"layers": [], "normalizers": []}\n')
    with pytest.raises(ValueError, match='no record'):
        read_ratios(tmp_path)
    (tmp_path / 'ssn_ratios.jsonl').write_text('hello\n')
    with pytest.raises(ValueError, match='not a file that SSNRadiusHook or RatiosHook'):
        read_ratios(tmp_path)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(ratios=[[[0, 1], [1, 0]]]), r'the number of layers of ratios is 1, expected 2'),
        (dict(ratios=[[[0, 1], [1, 0]], [[1, 0], [0, 1]]]), 'ratios of layer 1 is .* of 3 numbers'),
        (dict(ratios=[[['0.5', 1], [1, 0]], [[1, 0, 0]] * 2]), r'layer 0 is \[\[\"0.5\", 1\]'),
        (dict(iter='many'), r'iter is "many", expected the number of iterations done'),
        (dict(radius='wide'), r'radius is "wide", expected a number, or null for SN'),
        (dict(ratios=7), r'the number of layers of ratios is 7'),
    ],
)
def test_a_record_that_does_not_fit_is_told_with_its_file_line_and_value(run, change, message):
    file = run / 'ssn_ratios.jsonl'
    header, first, second, _ = file.read_text().splitlines()
    file.write_text('\n'.join([header, first, json.dumps(json.loads(second) | change)]))
    with pytest.raises(ValueError, match=message) as told:
        read_ratios(run)
    assert str(told.value).startswith(f'{file}, line 3: ')
    assert 'correct the line, or restore the file' in str(told.value)


def test_records_of_other_layers_are_put_aside_when_a_training_goes_on(run):
    file = run / 'ssn_ratios.jsonl'
    before = file.read_text()
    start_ratios(file, dict(a=('IN', 'BN'), b=('BN', 'LN', 'IN')), start=5)  # the same
    assert [json.loads(line).get('iter') for line in file.read_text().splitlines()] == [None, 5]
    file.write_text(before)
    for number in (1, 2):  # in another order, the ratios would be read as those of others
        names = dict(a=('BN', 'IN'), b=('IN', 'LN', 'BN')) if number == 1 else dict(a=('IN', 'BN'))
        start_ratios(file, names, start=5)
        assert len(file.read_text().splitlines()) == 1
        assert (run / f'ssn_ratios.jsonl.damaged{number}').is_file()
    assert (run / 'ssn_ratios.jsonl.damaged1').read_text() == before
