"""What trainings gain at twice the length, and that what has not converged is not compared."""

from dataclasses import replace

import pytest

from ssn_mm.suites.convergence import convergence_table, gain, has_converged
from ssn_mm.suites.significance import difference_grid, difference_table
from ssn_mm.suites.tables import main_table, tables, variant_table
from ssn_mm.visualization.run_figures import plot_differences, plot_metric


def longer(results, **gains):
    """Results of the same trainings, twice as long, of the first two seeds."""
    rows = [
        row | dict(metrics={'top-1': row['metrics']['top-1'] + gains.get(row['label'], 0.5)})
        for row in results.rows
        if row['seed'] < 2
    ]
    return replace(results, longer='grid_longer', twice=replace(results, rows=rows))


def test_a_gain_is_of_the_seeds_that_both_lengths_have(results):
    own = gain(longer(results, BN=3), 'BN', '2')
    assert (own.mean, own.seeds, own.converged) == (pytest.approx(3), 2, False)
    assert gain(longer(results), 'SSN', '2').converged
    assert gain(longer(results, SSN=-4), 'SSN', '2').converged  # it has nothing to gain
    assert gain(results, 'BN', '2') is None


def test_one_seed_clears_no_norm_and_condemns_none(results):
    for gained, name in ((0.5, 'BN'), (3, 'SN')):
        found = longer(results, **{name: gained})
        rows = [r for r in found.twice.rows if r['label'] != name or r['seed'] == 0]
        found = replace(found, twice=replace(found.twice, rows=rows))
        assert gain(found, name, '2').mean == pytest.approx(gained)
        assert has_converged(found, name, '2') is None
        lines = {line[0]: line[1:] for line in variant_table(found).cells[1:]}
        assert all(cell.endswith(' ?') for cell in lines[name])
        (line,) = [own for own in convergence_table(found).cells if own[0] == name]
        assert line[1].endswith('1 seeds)')
        assert line[-1] == 'not checked'
        lines = {line[0]: line[-1] for line in difference_table(found, 'SSN').cells[1:]}
        assert lines[f'SSN - {name}, 2'].endswith(' ?')


def test_a_figure_has_open_points_for_what_has_not_converged_or_was_not_checked(results):
    def open_points(found):
        picture = plot_metric(found)
        lines = [own for own in picture.figure.axes[0].lines if own.get_mfc() == 'white']
        return sum(len(own.get_xdata()) for own in lines), 'Open' in picture.caption

    assert open_points(results) == (0, False)
    assert open_points(longer(results)) == (0, False)
    variants = len(results.variants())
    assert open_points(longer(results, BN=3)) == (variants, True)
    unchecked = replace(results, longer='grid_longer')  # whose results are not there
    assert open_points(unchecked) == (variants * len(results.labels()), True)


def test_less_of_a_loss_is_a_gain(results):
    assert gain(replace(longer(results, BN=-3), rule='less'), 'BN', '2').mean == pytest.approx(3)


def test_what_has_not_converged_is_marked_and_not_compared(results):
    found = longer(results, BN=3)
    cells = {line[0]: line[1:] for line in variant_table(found).cells[1:]}
    assert all(cell.endswith(' *') for cell in cells['BN'])
    assert not any('*' in cell or '?' in cell for cell in cells['SSN'])
    lines = {line[0]: line[1:] for line in difference_table(found, 'SSN').cells[1:]}
    assert lines['SSN - BN, 2'][-1] == 'not compared: BN not converged'
    assert lines['SSN - BN, 2'][0] == '-'
    assert lines['SSN - SN, 2'][-1] == 'SSN better'
    assert difference_grid(found, 'SSN').cells[1][1] == 'not converged'
    (bn, _, ssn) = (line[-1] for line in convergence_table(found).cells[1:])
    assert (bn, ssn) == ('no', 'yes')
    assert 'Convergence' in tables(found)


def test_what_was_not_trained_longer_is_told(results):
    found = longer(results)
    rows = [row for row in found.twice.rows if row['label'] != 'SN']
    found = replace(found, twice=replace(found.twice, rows=rows))
    cells = {line[0]: line[1:] for line in variant_table(found).cells[1:]}
    assert all(cell.endswith(' ?') for cell in cells['SN'])
    assert convergence_table(found).cells[2][-1] == 'not checked'
    assert 'Convergence' not in tables(results)
    lines = {line[0]: line[1:] for line in difference_table(found, 'SSN').cells[1:]}
    assert lines['SSN - SN, 2'][-1] == 'SSN better ?'
    assert lines['SSN - BN, 2'][-1] == 'SSN better'
    bn, sn = difference_grid(found, 'SSN').cells[1:]
    assert not any(cell.endswith(' ?') for cell in bn)
    assert all(cell.endswith(' ?') for cell in sn[1:])
    assert tables(found)['SSN minus the others'][1].endswith('; ?: convergence was not checked.')
    (axes,) = plot_differences(found).figure.axes
    ticks = [tick.get_text() for tick in axes.get_yticklabels()]
    assert ticks[:2] == ['SSN - BN, 2', 'SSN - SN, 2 ?']
    alone = replace(results, longer='grid_longer')  # whose results are not there
    assert all(cell.endswith(' ?') for cell in difference_grid(alone, 'SSN').cells[1][1:])
    table, _ = tables(replace(found, twice=None))['Convergence']  # before it is trained longer
    assert {line[-1] for line in table.cells[1:]} == {'not checked'}


def test_convergence_names_what_is_late_and_what_was_not_checked(results):
    found = longer(results, BN=3)
    rows = [row for row in found.twice.rows if (row['label'], row['variant']) != ('BN', '32')]
    found = replace(found, twice=replace(found.twice, rows=rows))
    bn, *_ = convergence_table(found).cells[1:]
    assert bn[1:] == ['+3.00 (+3.00 to +3.00, 2 seeds)', '-', 'not 2; not checked 32']


def test_a_suite_of_one_variant_is_marked_in_its_table_of_runs(results):
    one = replace(results, rows=[dict(r, variant='') for r in results.rows if r['variant'] == '2'])
    (bn, *_, ssn) = main_table(longer(one, BN=3)).cells[1:]
    assert (bn[1][-2:], ssn[1]) == (' *', '56.00 ± 1.30')


def test_a_suite_that_is_the_longer_one_inherits_no_check_of_itself(suite):
    assert suite(longer='grid').longer == ''
    assert suite(longer='grid_longer').longer == 'grid_longer'
