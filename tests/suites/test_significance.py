"""Differences between configs, and trends, against the scatter of their seeds."""

from dataclasses import replace

import pytest
from scipy import stats

from ssn_mm.suites.significance import (
    compare,
    difference_grid,
    difference_table,
    differences,
    holm,
    trend,
)
from ssn_mm.suites.tables import ratio_table, tables
from ssn_mm.suites.training import pack, unpack


def test_a_difference_is_called_one_only_where_seeds_scatter_less(results):
    found = differences(results, 'SSN')
    assert found['BN', '2'].mean == pytest.approx(5)
    assert found['BN', '2'].low < 5 < found['BN', '2'].high
    verdicts = {line[0]: line[-1] for line in difference_table(results, 'SN').cells}
    assert verdicts['SN - BN, 2'] == 'no difference shown'
    assert verdicts['SN - SSN, 2'] == 'SN worse'
    corrected = {line[0]: float(line[-2]) for line in difference_table(results, 'SN').cells[1:]}
    alone = found['SN', '2'].p  # of four differences in the whole table
    assert corrected['SN - SSN, 2'] == pytest.approx(4 * alone, abs=1e-3)


@pytest.mark.parametrize(('rule', 'better'), [('greater', 'SSN'), ('less', 'BN')])
def test_the_rule_of_the_main_metric_says_which_of_two_is_better(results, rule, better):
    head, *lines = difference_table(replace(results, rule=rule), 'SSN').cells
    assert head[0] == dict(greater='top-1', less='top-1 (less is better)')[rule]
    verdicts = {line[0]: line[-1] for line in lines}
    assert verdicts['SSN - BN, 2'] == ('SSN better' if better == 'SSN' else 'SSN worse')
    assert differences(results, 'SSN')['BN', '2'].mean > 0


def test_the_short_table_says_seeds_intervals_and_what_passes(results):
    head, bn, _ = difference_grid(results, 'SSN').cells
    assert head == ['A grid, 3 seeds', '2 images', '32 images']
    assert bn[0] == 'SSN - BN'
    assert bn[1].startswith('**+5.0** (+4.3 to +5.7')
    weak = replace(results, rows=[row for row in results.rows if row['seed'] < 2])
    assert '**' not in difference_grid(weak, 'SN').cells[1][1]
    assert difference_grid(weak, 'SN').cells[0][0] == 'A grid, 2 seeds'


def test_trainings_of_one_seed_are_pairs():
    first, second = {0: 1.0, 1: 2.0, 2: 4.0, 7: 9.0}, {2: 3.5, 1: 1.0, 0: 0.5, 8: 0.0}
    own = compare(first, second)
    assert own.pairs == 3
    assert own.p == pytest.approx(stats.ttest_rel([1, 2, 4], [0.5, 1, 3.5]).pvalue)
    assert own.mean == pytest.approx(2 / 3)
    assert own.low < own.mean < own.high
    assert compare({0: 1.0}, second) is None
    same = compare({0: 91.3, 1: 92.4, 2: 90.1}, {0: 90.2, 1: 91.3, 2: 89.0})  # but for rounding
    assert (same.low, same.high, same.p, same.scatters) == (same.mean, same.mean, 1, False)
    assert same.mean == pytest.approx(1.1)
    shuffled = compare(first, {0: 3.5, 1: 0.5, 2: 1.0})  # the same values in other pairs
    assert shuffled.high - shuffled.low > own.high - own.low


def changed(results, label, variant, values):
    """Results with other values of the seeds of one config."""
    own = iter(values)
    rows = [
        row | dict(metrics={'top-1': next(own)})
        if (row['label'], row['variant']) == (label, variant)
        else row
        for row in results.rows
    ]
    return replace(results, rows=rows)


def test_a_difference_without_scatter_keeps_its_line_and_its_place_in_the_correction(results):
    found = changed(results, 'SN', '2', [v - 2 for v in results.values('SSN', '2')])
    lines = {line[0]: line[1:] for line in difference_table(found, 'SSN').cells[1:]}
    assert len(lines) == 4
    assert lines['SSN - SN, 2'] == [
        *('+2.00', '+2.00 to +2.00', '3', '1.000', '1.000', 'the same in all pairs, not tested')
    ]
    assert difference_grid(found, 'SSN').cells[2][1] == '+2.0 (+2.0 to +2.0)'


def test_a_network_that_diverged_is_named_and_not_compared(results):
    found = changed(results, 'BN', '2', [50, float('nan'), 52])
    lines = {line[0]: line[1:] for line in difference_table(found, 'SSN').cells[1:]}
    assert lines['SSN - BN, 2'][-1] == 'not compared: BN not finite'
    assert lines['SSN - BN, 32'][-1] == 'SSN better'
    assert difference_grid(found, 'SSN').cells[1][1] == 'not finite'


def test_a_cell_of_fewer_seeds_says_so(results):
    gone = [r for r in results.rows if (r['label'], r['variant'], r['seed']) != ('BN', '2', 2)]
    head, bn, sn = difference_grid(replace(results, rows=gone), 'SSN').cells
    assert head[0] == 'A grid, 2 to 3 seeds'
    assert bn[1].endswith(', 2 seeds)')
    assert not any('seeds' in cell for cell in (bn[2], *sn[1:]))


def test_splits_that_train_on_the_same_have_wider_intervals(results):
    plain, own = differences(results, 'SSN'), differences(replace(results, splits=5), 'SSN')
    first, wide = plain['BN', '2'], own['BN', '2']
    factor = ((1 / 3 + 1 / 4) / (1 / 3)) ** 0.5  # three of five splits were trained
    assert wide.high - wide.mean == pytest.approx(factor * (first.high - first.mean))
    assert wide.mean - wide.low == pytest.approx(factor * (first.mean - first.low))
    values = results.by_seed('SSN', '2'), results.by_seed('BN', '2')
    t = stats.ttest_rel(*([of[seed] for seed in range(3)] for of in values)).statistic / factor
    assert wide.p == pytest.approx(2 * stats.t.sf(t, 2))
    split = replace(results, splits=5)
    assert difference_table(split, 'SSN').cells[0][2] == '95 % interval, Nadeau-Bengio'
    assert difference_grid(split, 'SSN').cells[0][0] == 'A grid, 3 seeds, Nadeau-Bengio'


def test_p_values_are_corrected_by_holm():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


def test_average_ratios_and_their_trend_over_numbers_are_told(results):
    average = {line[0]: line[1:] for line in ratio_table(results).cells[1:]}
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
