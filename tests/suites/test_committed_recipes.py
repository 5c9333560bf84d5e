"""Recipes that are committed are the best of the searches whose results are committed."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from suites_of_text import go

from ssn_mm.config_files import read_config
from ssn_mm.suites.provenance import provenance_of
from ssn_mm.suites.results import read_results, results_of_suite
from ssn_mm.suites.search import best_recipes
from ssn_mm.suites.suite import read_suite

ROOT = Path(__file__).parents[2]
SUITES = ROOT / 'configs/suites'
RATE = 'optim_wrapper.paramwise_cfg.ratio_lr_mult'


def found_now(search, results):
    """The recipes of labels with all trials, the best of which has the config of today."""
    now = {run.name: run for run in search.runs}
    rows = [row for row in results.rows if row['run'] in now]
    tried = {row['run'] for row in rows}
    partly = {run.label for run in search.runs if run.name not in tried}
    whole = [row for row in rows if row['label'] not in partly]
    found = best_recipes(replace(results, rows=whole), search.variants)['recipes']
    for row in whole:  # a file's results are of one time, so that one config of a label is enough
        own = found.get(row['label'])
        if own and row['variant'] == own['name'] and not of_today(row, now[row['run']]):
            del found[row['label']]
    return found


def of_today(row, run):
    """Whether a result is of its run's config as it is now."""
    now = provenance_of(read_config(run.config, run.options))
    return row['provenance']['config'] == now['config']


def committed(search):
    """The recipes that the committed results of a search make; skips where there are none."""
    file = ROOT / f'docs/study/{search.name}/results.jsonl'
    if not file.is_file():
        pytest.skip(f'{file} is not there')
    found = found_now(search, read_results(file))
    return found or pytest.skip(f'{file} has no label with all trials, of today')


@pytest.mark.parametrize('file', sorted((SUITES / 'recipes').glob('*.json')), ids=lambda f: f.stem)
def test_committed_recipes_are_the_best_of_their_searches(file):
    content = json.loads(file.read_text(encoding='utf-8'))
    recipes = content['recipes']
    search = read_suite(SUITES / f'{content["search"]}.py', list(recipes))
    for label, own in recipes.items():
        assert own['options'] == search.variants[own['name']], label
    found = committed(search)
    assert {label: recipes[label] for label in found} == found


def test_the_rates_of_selectors_are_the_best_of_their_search():
    try:
        runs = read_suite(SUITES / 'selectors_digits.py').runs
        found = committed(read_suite(SUITES / 'selectors_search_digits.py'))
    except FileNotFoundError as error:  # no recipes that both build on
        pytest.skip(str(error))
    rates = {run.label: run.options[RATE] for run in runs}
    assert {label: rates[label] for label in found} == {
        label: own['options'][RATE] for label, own in found.items()
    }


def test_results_of_other_trials_and_of_searches_that_are_not_whole_decide_nothing(suite, tmp_path):
    variants = {'slow': {'more': 1}, 'fast': {'more': 3}}
    search = suite(seeds=[1], variants=variants)
    results = results_of_suite(search, go(search, tmp_path))
    assert {label: own['name'] for label, own in found_now(search, results).items()} == {
        'BN': 'fast',
        'SSN': 'fast',
    }
    some = [row for row in results.rows if row['run'] != 'BN-slow-seed1']
    assert found_now(search, replace(results, rows=some)).keys() == {'SSN'}
    assert found_now(suite(seeds=[1], variants=variants, options={'pause': 0.5}), results) == {}
