"""Whether selections repeat over seeds more often than by chance."""

import numpy as np
import pytest

from ssn_mm.suites.agreement import agreement, agreement_table, agreements


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
