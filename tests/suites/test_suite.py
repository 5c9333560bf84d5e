import pytest

from ssn_mm.suites.results import results_of_suite
from ssn_mm.suites.suite import read_suite


def test_greater_values_are_better_unless_the_suite_says_otherwise(suite):
    assert suite().rule == 'greater'
    losses = suite(rule='less')
    assert losses.rule == 'less'
    assert results_of_suite(losses, []).rule == 'less'


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(metrics=None), 'says no metrics'),
        (dict(wheels=4), 'says wheels, which no suite has'),
        (dict(seeds=[]), r'seeds must be a list, got \[\]'),
        (dict(seeds=['a']), r"seeds must be whole numbers, got \['a'\]"),
        (dict(configs=dict(BN='gone.py')), r'configs that are not there: .*gone\.py'),
        (dict(configs=dict(BN=dict(file='bn.py'))), r"configs\['BN'\] must be a file"),
        (dict(configs={'B N': 'bn.py', 'B_N': 'ssn.py'}), 'several runs would be called B_N-seed0'),
        (dict(rule='more'), "rule must be 'greater' or 'less', .* acc is better, got 'more'"),
        (dict(reference='IN'), "reference must be one of BN, SSN, got 'IN'"),
        (dict(after=dict(BN='IN')), "after={'BN': 'IN'}; both must be labels"),
    ],
)
def test_a_wrong_suite_is_refused(suite, changes, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        suite(**changes)


def test_overrides_that_are_splits_have_the_seed_as_value(suite):
    split = suite(splits=['base', 'more'], seeds=[0, 3])
    assert (split.splits, suite().splits) == (2, 0)
    runs = split.runs
    assert {(run.seed, run.options['base'], run.options['more']) for run in runs} == {
        (0, 0, 0), (3, 3, 3)
    }  # fmt: skip


def test_a_suite_says_what_others_are_compared_with_or_ssn_is_it(suite):
    assert results_of_suite(suite(reference='BN'), []).reference == 'BN'
    assert results_of_suite(suite(), []).reference == ''


def test_a_missing_suite_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match='configs/suites'):
        read_suite(tmp_path / 'none.py')
