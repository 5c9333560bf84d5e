"""Recipes: searched by a suite, picked into a file, and taken from there by other suites."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from suites_of_text import go

from ssn_mm.suites.recipes import read_recipes, search_of
from ssn_mm.suites.results import results_of_suite, write_results
from ssn_mm.suites.search import best_recipes

ROOT = Path(__file__).parents[2]
SEARCH = dict(seeds=[1], variants={'slow': {'more': 1}, 'fast': {'more': 3}, 'mad': {'more': -9}})


@pytest.fixture
def picked(suite, tmp_path, run_tool):
    """A search that was trained, and the file that the tool has picked of it."""
    search = suite(**SEARCH)
    results = results_of_suite(search, go(search, tmp_path))
    write_results(tmp_path / 'results.jsonl', results)
    tool = [sys.executable, ROOT / 'tools/analysis_tools/pick_recipes.py', 'grid.py']
    tool += ['--results', 'results.jsonl', '--out', 'recipes.json']
    return run_tool(*tool)


def test_the_best_variant_of_a_search_is_the_recipe_of_other_suites(picked, suite, tmp_path):
    code, output = picked
    assert code == 0
    assert 'fast' in output
    found = json.loads((tmp_path / 'recipes.json').read_text())
    assert found['search'] == 'grid'
    assert found['recipes']['SSN'] == dict(name='fast', value=24, options={'more': 3})
    (run, *_) = suite(recipes='recipes.json').runs
    assert run.options['more'] == 3
    own = dict(config='bn.py', recipe='SSN', options={'more': 5})
    table = suite(
        configs=dict(mine=own),
        variants={'2': {}, '8': {}},
        recipes={'2': 'recipes.json', '8': 'recipes.json'},
    )
    assert table.runs[0].options['more'] == 5  # its own override wins
    with pytest.raises(ValueError, match=r"recipe of 'BN' says more, .* variant '2' is about"):
        suite(variants={'2': {'more': 2}}, recipes={'2': 'recipes.json'})


def test_a_recipe_that_is_not_there_is_told(picked, suite, tmp_path):
    with pytest.raises(ValueError, match="has no recipe for 'IN', only for BN, SSN"):
        suite(recipes='recipes.json', configs=dict(IN='bn.py'))
    with pytest.raises(ValueError, match='recipes are of 2, the variants are 2, 8'):
        suite(recipes={'2': 'recipes.json'}, variants={'2': {}, '8': {}})
    with pytest.raises(FileNotFoundError, match=r'no recipes at .*gone\.json; train its search'):
        suite(recipes='gone.json')
    (tmp_path / 'bad.json').write_text('{"recipes": {"BN": {"name": "a"}}}')
    with pytest.raises(ValueError, match='the recipe of BN must have name, value, options'):
        suite(recipes='bad.json')
    (tmp_path / 'bad.json').write_text('[')
    with pytest.raises(ValueError, match='holds no recipes'):
        read_recipes(tmp_path / 'bad.json')


@pytest.mark.parametrize(
    ('recipes', 'search'),
    [
        *((f'resnet_{n}_digits', f'search_{n}_digits') for n in (2, 8, 32)),
        ('deeplab_digits', 'search_deeplab_digits'),
        ('i3d_digits', 'search_i3d_digits'),
        *((f'solar_cells_{n}', f'solar_search_{n}') for n in (2, 16)),
        *((f'solar_resnet_{n}', f'solar_resnet_search_{n}') for n in (2, 16)),
    ],
)
def test_recipes_that_are_not_there_are_told_with_the_search_that_finds_them(recipes, search):
    suites = ROOT / 'configs/suites'
    own = search_of(suites / f'recipes/{recipes}.json')
    assert own == suites / f'{search}.py'
    assert own.is_file()


def test_a_search_that_is_not_complete_is_refused(suite, tmp_path, run_tool):
    search = suite(**SEARCH)
    rows = [row for row in go(search, tmp_path) if row['run'] != 'BN-mad-seed1']
    write_results(tmp_path / 'results.jsonl', results_of_suite(search, rows))
    tool = [sys.executable, ROOT / 'tools/analysis_tools/pick_recipes.py', 'grid.py']
    code, output = run_tool(*tool, '--results', 'results.jsonl', '--out', 'recipes.json')
    assert code == 2
    assert 'BN has no result with mad; train the rest of grid' in output
    assert not (tmp_path / 'recipes.json').exists()


@pytest.mark.parametrize('rule', ['greater', 'less'])
def test_a_trial_that_failed_or_diverged_is_the_worst(results, rule):
    rows = [dict(row, variant='a') for row in results.of('BN', '2')]
    failed = dict(label='BN', variant='b', seed=0, status='failed')
    nan = [dict(row, variant='c', metrics={'top-1': float('nan')}) for row in rows]
    search = replace(results, rule=rule)
    variants = dict(c={'more': 3}, b={'more': 2}, a={'more': 1})
    found = best_recipes(replace(search, rows=[*nan, failed, *rows]), variants)
    assert found['recipes']['BN'] == dict(name='a', value=51, options={'more': 1})
    with pytest.raises(ValueError, match=r'BN has no result with b; train the rest of grid'):
        best_recipes(replace(search, rows=[*nan, *rows]), variants)
    bad = [failed, dict(failed, variant='a'), *nan]
    with pytest.raises(ValueError, match='no training of BN in grid reached a finite top-1 with'):
        best_recipes(replace(search, rows=bad), variants)
