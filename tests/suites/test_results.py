import re
from dataclasses import replace

import pytest

from ssn_mm.suites.results import read_results, write_results
from ssn_mm.suites.significance import reference
from ssn_mm.suites.tables import tables
from ssn_mm.suites.training import pack, unpack
from ssn_mm.visualization.run_figures import plot_differences


def test_results_are_the_same_after_writing_and_reading(results, tmp_path):
    write_results(tmp_path / 'results.jsonl', results)
    assert read_results(tmp_path / 'results.jsonl') == results
    (tmp_path / 'results.jsonl').write_text('{"name": "x"}\n')
    with pytest.raises(ValueError, match=r'line 1: expected a JSON object with metrics'):
        read_results(tmp_path / 'results.jsonl')
    with pytest.raises(FileNotFoundError, match='no results at'):
        read_results(tmp_path / 'none.jsonl')


@pytest.mark.parametrize('rule', ['greater', 'less'])
def test_results_carry_the_rule_and_those_without_have_the_default(results, tmp_path, rule):
    path = tmp_path / 'results.jsonl'
    write_results(path, replace(results, rule=rule))
    assert read_results(path).rule == rule
    text = path.read_text()
    path.write_text(text.replace(f',"rule":"{rule}"', ''))
    assert read_results(path).rule == 'greater'
    path.write_text(text.replace(f'"{rule}"', '"more"'))
    with pytest.raises(ValueError, match="line 1: rule is \"more\", expected 'greater' or 'less'"):
        read_results(path)


def test_results_carry_the_number_of_splits(results, tmp_path):
    path = tmp_path / 'results.jsonl'
    write_results(path, replace(results, splits=5))
    text = path.read_text()
    assert read_results(path).splits == 5
    path.write_text(text.replace(',"splits":5', ''))
    assert read_results(path).splits == 0
    path.write_text(text.replace('"splits":5', '"splits":-1'))
    with pytest.raises(ValueError, match='line 1: splits is -1, expected how many there are'):
        read_results(path)


def test_results_carry_what_others_are_compared_with(results, tmp_path):
    path = tmp_path / 'results.jsonl'
    assert reference(results) == 'SSN'
    write_results(path, replace(results, reference='BN'))
    assert reference(read_results(path)) == 'BN'
    assert 'BN against the others' in tables(read_results(path))
    assert plot_differences(read_results(path)).title == 'BN against the others'
    path.write_text(path.read_text().replace(',"reference":"BN"', ''))
    assert reference(read_results(path)) == 'SSN'
    assert reference(replace(results, reference='gone')) == 'SSN'


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(metrics={'top-1': 'high'}), 'metrics is {"top-1": "high"}, expected a number'),
        (dict(curves={'loss': [[1, 2], [3]]}), "the curve 'loss' is "),
        (dict(memory='much'), 'memory is "much", expected a number'),
        (dict(status='maybe'), 'status is "maybe"'),
        (dict(ratios=dict(layers=['a'])), 'ratios is '),
    ],
)
def test_a_row_without_numbers_is_told_with_its_file_line_and_value(
    results, tmp_path, change, message
):
    path = tmp_path / 'results.jsonl'
    write_results(path, replace(results, rows=[*results.rows[:2], {**results.rows[2], **change}]))
    with pytest.raises(ValueError, match=re.escape(message)) as told:
        read_results(path)
    assert str(told.value).startswith(f'{path}, line 4: ')
    row = {**results.rows[2], 'ratios': pack(unpack(results.rows[2]['ratios']))}
    row['ratios']['ratios'][1] = row['ratios']['ratios'][1][:2]
    write_results(path, replace(results, rows=[row]))
    with pytest.raises(ValueError, match='line 2: the number of layers of ratios is 2, expected 4'):
        read_results(path)
