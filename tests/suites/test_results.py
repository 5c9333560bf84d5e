import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from recorded import log
from scipy import stats

from ssn_mm.suites.results import read_results, write_results
from ssn_mm.suites.significance import compare, difference_table, differences, holm, trend
from ssn_mm.suites.tables import fill_page, mixed, ratio_table, tables, variant_table
from ssn_mm.suites.training import pack, read_training, selected, unpack

ROOT = Path(__file__).parents[2]


def cells(table):
    return [[cell.strip() for cell in line.split('|')[1:-1]] for line in str(table).splitlines()]


def test_results_are_the_same_after_writing_and_reading(results, tmp_path):
    write_results(tmp_path / 'results.jsonl', results)
    assert read_results(tmp_path / 'results.jsonl') == results
    (tmp_path / 'results.jsonl').write_text('{"name": "x"}\n')
    with pytest.raises(ValueError, match=r'line 1: expected a JSON object with metrics'):
        read_results(tmp_path / 'results.jsonl')
    with pytest.raises(FileNotFoundError, match='no results at'):
        read_results(tmp_path / 'none.jsonl')


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


def test_tables_give_mean_and_deviation_over_seeds_beside_the_papers(results):
    found = cells(variant_table(results))
    assert found[0] == ['images', '2', '32']
    assert found[2] == ['BN', '51.00 ± 1.00', '52.00 ± 1.00']
    assert found[5] == ["BN, the paper's", '-', '76.4']
    lines = {line[0]: line for line in cells(tables(results)['All runs'][0])}
    assert lines['BN, 32'][1:4] == ['52.00 ± 1.00', '76.4', '3']
    assert lines['SSN, 2'][-1] == '100 %, 100 %, 100 %'
    assert lines['SN, 2'][-1] == '0 %, 0 %, 0 %'


def test_a_difference_is_called_one_only_where_seeds_scatter_less(results):
    found = differences(results, 'SSN')
    assert found['BN', '2'].mean == pytest.approx(5)
    assert found['BN', '2'].low < 5 < found['BN', '2'].high
    verdicts = {line[0]: line[-1] for line in cells(difference_table(results, 'SN'))}
    assert verdicts['SN - BN, 2'] == 'no difference shown'
    assert verdicts['SN - SSN, 2'] == 'SN worse'
    corrected = {line[0]: float(line[-2]) for line in cells(difference_table(results, 'SN'))[2:]}
    alone = found['SN', '2'].p  # of two others in each variant, the smaller p-value counts twice
    assert corrected['SN - SSN, 2'] == pytest.approx(2 * alone, abs=1e-3)


def test_significance_is_welchs_with_holms_correction():
    first, second = [1.0, 2.0, 4.0], [2.0, 3.5, 4.5]
    own = compare(first, second)
    assert own.p == stats.ttest_ind(first, second, equal_var=False).pvalue
    assert compare([1.0], second) is None
    assert compare([1.0, 1.0], [1.0, 1.0]) is None
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


def test_average_ratios_and_their_trend_over_numbers_are_told(results):
    average = {line[0]: line[1:] for line in cells(ratio_table(results))[2:]}
    assert average.keys() == {'SN, 2', 'SN, 32', 'SSN, 2', 'SSN, 32'}
    percent = [float(cell.split()[0]) for cell in average['SSN, 2']]
    assert sum(percent[:3]) == pytest.approx(100, abs=0.02)
    assert trend(results, 'SSN', 'BN') is None  # two sizes are no trend
    rows = []
    for size, count in ((2, 0), (8, 1), (32, 3)):  # layers that selected BN
        (row, *_) = results.of('SSN', '2')
        packed = unpack(row['ratios'])
        packed.ratios[-1] = [1, 0, 0]
        packed.ratios[-1, :count] = [0, 0, 1]
        rows.append(dict(row, variant=str(size), ratios=pack(packed)))
    grown = replace(results, rows=rows)
    assert trend(grown, 'SSN', 'BN')[0] == pytest.approx(1)
    assert trend(grown, 'SSN', 'IN')[0] == pytest.approx(-1)
    note = tables(grown)['Average importance ratios'][1]
    assert "SSN: BN's average ratio against images: Spearman's rho +1.00" in note
    named = replace(results, rows=[dict(row, variant='b' + row['variant']) for row in rows])
    assert trend(named, 'SSN', 'BN') is None


def test_rows_of_different_provenance_are_told(results):
    assert mixed(results) == []
    other = [dict(row) for row in results.rows]
    other[0]['provenance'] = {**other[0]['provenance'], 'torch': '3'}
    other[1]['data'] = 'another'
    told = mixed(replace(results, rows=other))
    assert told[0] == 'The results are of 2 versions of torch: 2, 3.'
    assert told[-1] == 'The results are of 2 versions of the data.'


def test_tables_go_into_a_page_where_it_asks_for_them(results):
    page = 'before\n<!-- grid: All runs -->\nold\n<!-- end -->\nafter\n'
    filled = fill_page(page, results)
    assert str(tables(results)['All runs'][0]) in filled
    assert fill_page(filled, results) == filled
    assert filled.startswith('before\n<!-- grid: All runs -->')
    assert filled.endswith('<!-- end -->\nafter\n')
    with pytest.raises(ValueError, match="no table 'Wheels'; there are top-1 by images"):
        fill_page(page.replace('All runs', 'Wheels'), results)
    with pytest.raises(ValueError, match='the page has no <!-- grid: TITLE -->'):
        fill_page('empty', results)


def test_a_training_is_read_from_its_logs_a_resumed_one_once(tmp_path):
    log(tmp_path, [dict(loss=3.0, step=10, time=1.0), dict(loss=2.0, step=20, time=2.0)])
    records = [dict(loss=2.5, step=15, time=3.0), {'acc/top1': 0.5, 'step': 1}]
    log(tmp_path, [*records, dict(loss=1.0, step=25, memory=7)], '20260101_000001')
    row = read_training(tmp_path)
    assert row['metrics'] == {'top-1': 50}
    assert row['curves'] == {'loss': [[10, 15, 25], [3, 2.5, 1]], 'top-1': [[15], [50]]}
    assert (row['seconds_per_iteration'], row['memory'], row['ratios']) == (2, 7, None)
    with pytest.raises(ValueError, match='no validation with mIoU'):
        read_training(tmp_path, ['mIoU'])


def test_a_long_training_is_thinned_and_keeps_its_end(tmp_path):
    log(tmp_path, [{'loss': 1.0, 'step': i, 'mIoU': float(i)} for i in range(1, 1000)])
    at, values = read_training(tmp_path)['curves']['mIoU']
    assert len(at) == 60
    assert (at[0], at[-1], values[-1]) == (1, 999, 999)


def test_packed_ratios_are_the_ratios(results):
    packed = results.of('SSN', '2')[0]['ratios']
    again = pack(unpack(packed))
    assert again == packed
    assert sum(selected(unpack(packed)).values()) == 8
    assert np.isnan(unpack(results.of('SN', '2')[0]['ratios']).radius).all()


def test_the_tool_prints_and_checks_tables(results, tmp_path, run_tool, run_alone):
    write_results(tmp_path / 'results.jsonl', results)
    page = tmp_path / 'a page.md'
    page.write_text('<!-- grid: All runs -->\n<!-- end -->\n')
    tool = [sys.executable, ROOT / 'tools/analysis_tools/make_tables.py', 'results.jsonl']
    code, output = run_tool(*tool, '--into', page, '--check')
    assert code == 1
    assert 'differs from results.jsonl; run\n' in output
    _, *again = shlex.split(output.splitlines()[-1])
    assert again[-3:] == ['results.jsonl', '--into', 'a page.md']
    assert run_alone(sys.executable, *again)[0] == 0
    assert run_tool(*tool, '--into', page, '--check')[0] == 0
    code, output = run_tool(*tool)
    assert code == 0
    assert str(tables(results)['SSN against the others'][0]) in output
    code, output = run_tool(*tool[:2], 'nothing.py')
    assert (code, 'no suite' in output) == (2, True)


def test_the_committed_page_is_of_the_committed_results():
    page = (ROOT / 'docs/study.md').read_text(encoding='utf-8')
    files = sorted((ROOT / 'docs/study').glob('*/results.jsonl'))
    assert files
    for file in files:
        assert fill_page(page, read_results(file)) == page, file
