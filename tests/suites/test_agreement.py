"""Whether selections repeat over seeds more often than by chance."""

from dataclasses import replace

import numpy as np
import pytest

from ssn_mm.suites.agreement import agreement, agreement_table, agreements
from ssn_mm.suites.training import pack
from ssn_mm.visualization.ratio_figures import plot_agreement


def test_equal_selections_agree_beyond_chance():
    own = agreement(np.tile(np.arange(12) % 3, (5, 1)))
    assert own.layers.tolist() == [1] * 12
    assert own.chance == pytest.approx(1 / 3, abs=0.01)
    assert own.p < 0.001


def test_selections_by_chance_do_not():
    own = agreement(np.random.default_rng(1).integers(0, 3, (5, 12)))
    assert own.layers.mean() == pytest.approx(own.chance, abs=0.15)
    assert own.p > 0.05


def test_what_all_layers_select_is_no_agreement_of_layers():
    """A network that selects BN everywhere agrees with another by its counts alone."""
    own = agreement(np.zeros((3, 12), int))
    assert (own.layers.mean(), own.chance, own.p) == (1, 1, 1)


def test_agreement_is_of_each_pair_of_seeds():
    own = agreement(np.array([[0, 1, 2], [0, 1, 1], [0, 2, 1]]))
    assert own.layers == pytest.approx([1, 1 / 3, 1 / 3])


def test_a_table_has_the_labels_that_select(results):
    found = agreements(results)
    assert {(label, row) for label, _, row in found} == {('SSN', 0), ('SSN', 1)}
    lines = agreement_table(results).cells[1:]
    assert [line[0] for line in lines][:2] == ['SSN, 2, means', 'SSN, 2, variances']
    names, own = found['SSN', '2', 0]
    assert len(names) == len(own.layers)
    assert {line[-1] for line in lines} == {'3 of 3'}


def test_trainings_that_have_not_selected_are_counted(results, make_ratios):
    rows = list(results.rows)
    where = [r['run'] for r in rows].index('SSN-2-1')
    rows[where] = rows[where] | dict(ratios=pack(make_ratios(sparse=False)))
    few, _, all_of_them, _ = agreement_table(replace(results, rows=rows)).cells[1:]
    assert (few[0], few[-1]) == ('SSN, 2, means', '2 of 3')
    assert all_of_them[-1] == '3 of 3'


def test_panels_of_many_labels_lie_in_a_grid(results):
    many = [
        dict(row, label=f'{row["label"]} {n}') for n in range(10) for row in results.of('SSN', '2')
    ]
    picture = plot_agreement(replace(results, rows=many))
    assert len(picture.figure.axes) == 20
    width, height = picture.figure.get_size_inches()
    assert 0.4 < width / height < 2.5
    assert width * 150 < 4000 > height * 150
    first, *_ = picture.figure.axes
    assert first.get_title() == 'SSN 0, 2'
    assert [axes.get_ylabel() for axes in picture.figure.axes].count('variances') == 10
