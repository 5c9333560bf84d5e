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


def test_int8_loses_at_most_half_a_point_where_all_layers_are_bn(page):
    """What the page promises, of the rows themselves."""
    for own in page.read_rows():
        rows = {r['competitor']: r for r in own.rows if r['case']['selection'] == 'all BN'}
        for name, row in rows.items():
            if name.endswith(' int8') and row['seconds'] is not None:
                assert page.percent(row) > page.percent(rows['trained']) - 0.5, name
