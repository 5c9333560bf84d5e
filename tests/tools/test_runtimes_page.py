"""The table of runtimes on the page of deploying is that of the committed rows."""

import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def page():
    """The module that makes the table; its neighbours are imported by name."""
    sys.path.append(str(ROOT / 'tools/benchmarks'))
    yield importlib.import_module('_render_runtimes')
    sys.path.remove(str(ROOT / 'tools/benchmarks'))


def test_the_page_shows_the_rows_of_every_demo(page):
    text = page.PAGE.read_text(encoding='utf-8')
    measured = page.read_rows()
    assert {row['case']['demo'] for own in measured for row in own.rows} == {
        'resnet', 'deeplab', 'i3d'
    }  # fmt: skip
    assert page.with_tables(text, measured) == text


def test_the_page_shows_the_speed_of_networks_that_was_measured(page):
    from _render_rows import INFERENCE, read_all

    text = page.PAGE.read_text(encoding='utf-8')
    measured, _ = read_all(ROOT / 'docs/benchmarks')
    networks = [timings for timings in measured if timings.tool == INFERENCE]
    assert len(networks) > 0
    assert page.with_networks(text, networks) == text
    with pytest.raises(ValueError, match='the page lacks <!-- networks -->'):
        page.with_networks('', networks)


def test_int8_loses_less_than_half_a_point_of_any_demo_in_any_runtime(page):
    """What the page says, of the rows themselves; each file has networks of its own training."""
    for own in page.read_rows():
        measured = [row for row in own.rows if row['seconds'] is not None]
        trained = {
            tuple(row['case'].values()): page.percent(row)
            for row in measured
            if row['competitor'] == 'trained'
        }
        rows = [row for row in measured if row['competitor'].endswith(' int8')]
        assert {row['case']['selection'] for row in rows} == {'learned', 'all BN'}
        for row in rows:
            assert page.percent(row) > trained[tuple(row['case'].values())] - 0.5, row['competitor']
