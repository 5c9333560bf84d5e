"""README claims only what experiments of five seeds show, with their size in the same table."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from recorded import make_results

from ssn_mm.cli.results import read_source
from ssn_mm.suites.significance import compared, reference
from ssn_mm.suites.tables import fill_page

ROOT = Path(__file__).parents[1]
SEEDS = 5
BLOCK = r'<!-- (\w+): (.+?) -->\n(.*?)<!-- end -->'  # a table that make_tables.py fills
NUMBER = r'([-+]?\d+(?:\.\d+)?)'
ALLOWED = ("the paper's", 'time of', 'speed of')  # numbers that are no result of a training here


def wrong_claims(page, results_of):
    """What a page claims without five seeds, in words.

    Args:
        page: Markdown.
        results_of: Gives the results of a suite by its name.
    """
    found = []
    for name, title, text in re.findall(BLOCK, page, re.DOTALL):
        results = results_of(name)
        if 'minus the others' not in title:
            found.append(f'{name}: {title} says neither seeds nor size')
        if fill_page(page, results) != page:
            found.append(f'{name}: {title} is not what the results say')
        for (other, variant), own in compared(results, reference(results)).items():
            if own.difference.pairs < SEEDS and other in text:
                found.append(f'{name}: {other}, {variant} has {own.difference.pairs} seeds')
            if own.doubt and other in text:
                found.append(f'{name}: convergence of {other}, {variant} was not checked')
    by_hand = re.sub(BLOCK, '', page, flags=re.DOTALL)
    for line in re.findall(r'^\|.*\|$', by_hand, re.M):
        _, first, *cells = line.split('|')
        numbers = [cell for cell in cells if re.search(r'\d\.\d', cell)]
        if numbers and not any(words in first for words in ALLOWED):
            found.append(f'{first.strip()}: numbers that no command has written')
    return found


def test_readme_claims_what_five_seeds_show():
    page = (ROOT / 'README.md').read_text(encoding='utf-8')
    assert 'What to expect' in page
    assert not wrong_claims(
        page, lambda name: read_source(ROOT / f'docs/study/{name}/results.jsonl')[0]
    )


def wrong_intervals(page, source):
    """What a page's prose says, '0.4 points (-0.8 to 1.5)', and no table of a source, either way.

    A number before an interval has to be the mean that a table has beside it.
    """
    tables = ' '.join(text for *_, text in re.findall(BLOCK, source, re.DOTALL))
    cells = re.findall(rf'{NUMBER} (?:\| +|\(){NUMBER} to {NUMBER}', tables)
    known = [tuple(map(float, cell)) for cell in cells]
    known += [(-mean, -high, -low) for mean, low, high in known]
    prose = re.sub(r'\s+', ' ', re.sub(BLOCK, '', page, flags=re.DOTALL))
    found = []
    for told in re.findall(rf'(?:{NUMBER}(?: points?)? )?\({NUMBER} to {NUMBER}\)', prose):
        half = 0.5001 * 10 ** -max(len(end.partition('.')[2]) for end in told)
        if not any(
            all(abs(float(a) - b) <= half for a, b in zip(told, own, strict=True) if a)
            for own in known
        ):
            found.append(' '.join(filter(None, told)))
    return found


@pytest.mark.parametrize('name', ['README.md', 'docs/study.md', 'docs/solar_cells.md'])
def test_intervals_in_prose_are_those_of_the_tables(name):
    study = (ROOT / 'docs/study.md').read_text(encoding='utf-8')
    page = (ROOT / name).read_text(encoding='utf-8')
    assert wrong_intervals(page, page + study) == []
    wrong = f'{page}\nIt is ahead by 77 points (76.1 to\n78.2).\n'
    assert wrong_intervals(wrong, page + study) == ['77 76.1 78.2']


def test_an_interval_may_be_rounded_and_turned_around():
    table = '<!-- grid: x -->\n| SSN - BN | -0.44 | -1.24 to +0.36 |\n<!-- end -->\n'
    assert wrong_intervals(table + 'Ahead by 0.4 points (-0.4 to 1.2).', table) == []
    assert wrong_intervals(table + 'Behind (-1.2 to 0.4), not (-1.3 to 0.4).', table) == [
        '-1.3 0.4'
    ]
    assert wrong_intervals(table + 'Ahead by 0.5 points (-0.4 to 1.2).', table) == ['0.5 -0.4 1.2']


@pytest.fixture
def claim():
    """A page with a claim, and the results of five seeds behind it."""
    results = make_results()
    more = [dict(row, seed=row['seed'] + 3) for row in results.rows if row['seed'] < 2]
    results = replace(results, rows=[*results.rows, *more])
    page = "<!-- grid: SSN minus the others -->\n<!-- end -->\n| mIoU, *the paper's* | 7.5 |\n"
    return fill_page(page, results), results


def test_a_claim_says_its_size_and_seeds(claim):
    page, results = claim
    assert 'A grid, 5 seeds' in page
    assert wrong_claims(page, lambda name: results) == []


def test_a_claim_of_three_seeds_or_by_hand_is_found(claim):
    page, results = claim
    few = make_results()
    found = wrong_claims(fill_page(page, few), lambda name: few)
    assert 'grid: BN, 2 has 3 seeds' in found
    (told,) = wrong_claims(page + '| top-1 on digits | 91.3 |\n', lambda name: results)
    assert told == 'top-1 on digits: numbers that no command has written'
    (told,) = wrong_claims(page.replace('**+', '**+1', 1), lambda name: results)
    assert 'is not what the results say' in told
    other = page.replace('SSN minus the others', 'SSN against the others')
    assert any('neither seeds nor size' in t for t in wrong_claims(other, lambda name: results))


def test_a_claim_whose_convergence_was_not_checked_is_found(claim):
    page, results = claim
    unchecked = replace(results, longer='grid_longer')
    filled = fill_page(page, unchecked)
    assert ' ? |' in filled
    found = wrong_claims(filled, lambda name: unchecked)
    assert 'grid: convergence of BN, 2 was not checked' in found
