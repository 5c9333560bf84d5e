"""The page of a study, by its text and as a browser shows it."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from ssn_mm.cli.study import add_results, tidy_results, write_page
from ssn_mm.suites import load_results, write_study
from ssn_mm.suites.results import write_results
from ssn_mm.suites.study import SHIPPED
from ssn_mm.visualization.results_page import results_page

CHROMIUM = shutil.which('chromium') or shutil.which('google-chrome')


@pytest.fixture
def study(results, tmp_path):
    """A study of 18 runs on disk, and the file of somebody else's."""
    for row in results.rows:
        row |= dict(config='x.py', norm=row['label'], selector=None, batch=int(row['variant']))
    write_results(tmp_path / 'results.jsonl', results)
    tidy_results([tmp_path / 'results.jsonl'], tmp_path / 'study/results.csv')
    theirs = [replace(load_results(tmp_path / 'study/results.csv')[0], label='mine', value=99.0)]
    write_study(tmp_path / 'theirs.csv', theirs)
    return tmp_path / 'study/results.csv'


def data_of(page):
    (text,) = re.findall(r'id="data">(.*?)</script>', page, re.DOTALL)
    return json.loads(text)


def test_the_committed_page_is_that_of_the_committed_table():
    others = SHIPPED.parent / 'others'
    found = {file.stem: load_results(file) for file in sorted(others.glob('*.csv'))}
    page = results_page(load_results(), found, ['results.csv', 'results.parquet'])
    there = SHIPPED.with_suffix('.html').read_text(encoding='utf-8')
    assert there == page, 'run: tools/analysis_tools/tidy_results.py'


def test_results_of_others_are_checked_and_shown_apart(study, tmp_path):
    add_results(tmp_path / 'theirs.csv', study)
    page = study.with_suffix('.html').read_text(encoding='utf-8')
    assert 'Of others, as they sent it: theirs' in page
    sources = [run['source'] for run in data_of(page)['runs']]
    assert sources == ['ours'] * 18 + ['theirs']
    assert len(load_results(study)) == 18
    with pytest.raises(ValueError, match='is there already'):
        add_results(tmp_path / 'theirs.csv', study)
    with pytest.raises(ValueError, match=r"the name must be .*got '\.\./up'"):
        add_results(tmp_path / 'theirs.csv', study, '../up')
    (tmp_path / 'wrong.csv').write_text('version,suite\n7,a\n')
    with pytest.raises(ValueError, match='version is 7'):
        add_results(tmp_path / 'wrong.csv', study)
    assert not (study.parent / 'others/wrong.csv').exists()


def test_no_text_of_a_run_is_markup(study, tmp_path):
    bad = '</script><img src=x onerror=alert(1)>'
    runs = [replace(load_results(study)[0], label=bad, device=bad)]
    write_study(tmp_path / 'bad.csv', runs)
    add_results(tmp_path / 'bad.csv', study)
    page = study.with_suffix('.html').read_text(encoding='utf-8')
    assert '<img' not in page
    assert data_of(page)['runs'][-1]['label'] == bad
    assert "default-src 'none'" in page
    assert not re.search(r'https?://(?!www\.w3\.org)', page)


def test_a_source_that_is_there_twice_and_a_strange_name_are_told(study, tmp_path):
    source = tmp_path / 'results.jsonl'
    with pytest.raises(ValueError, match='is in two sources'):
        tidy_results([source, source], tmp_path / 'again.csv')
    with pytest.raises(ValueError, match=r'--out is a \.csv file'):
        tidy_results([source], tmp_path / 'again.html')


@pytest.fixture
def shown():
    """What a browser makes of a page at a state: the cells of each table's lines."""
    if CHROMIUM is None:
        pytest.skip('no Chromium here')

    def show(page: Path, state=''):
        command = [CHROMIUM, '--headless', '--no-sandbox', '--disable-gpu', '--dump-dom']
        address = f'{page.resolve().as_uri()}#{state}'
        done = subprocess.run([*command, address], capture_output=True, text=True, timeout=120)
        sections = re.findall(r'<section.*?</section>', done.stdout, re.DOTALL)
        lines = [re.findall(r'<tr class="run">.*?</tr>', own, re.DOTALL) for own in sections]
        return [[re.findall(r'<td[^>]*>(.*?)</td>', line) for line in own] for own in lines]

    return show


def test_a_browser_sorts_and_filters_the_page(study, tmp_path, shown):
    add_results(tmp_path / 'theirs.csv', study)
    page = write_page(study)
    ours, theirs = shown(page)
    assert (len(ours), len(theirs)) == (18, 1)
    label, value, batch = 1, 8, 5
    ours, _ = shown(page, 'sort=value&down=1')
    values = [float(line[value]) for line in ours]
    assert values == sorted(values, reverse=True)
    assert ours[0][label] == 'SSN'
    ours, theirs = shown(page, 'label=SN&batch=2&sort=value')
    assert {(line[label], line[batch]) for line in ours} == {('SN', '2')}
    assert [float(line[value]) for line in ours] == [50.3, 50.9, 52.1]
    assert theirs == []
    ours, theirs = shown(page, 'q=mine')
    assert (ours, theirs[0][label]) == ([], 'mine')
    assert '<polyline' in theirs[0][9]
