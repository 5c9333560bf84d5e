import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ssn_mm.cli.results import read_source
from ssn_mm.suites.results import write_results
from ssn_mm.suites.significance import compare
from ssn_mm.suites.tables import fill_page, mixed, ratio_change_table, tables, variant_table
from ssn_mm.suites.training import average_ratio, unpack

ROOT = Path(__file__).parents[2]


def test_tables_give_mean_and_deviation_over_seeds_beside_the_papers(results):
    found = variant_table(results).cells
    assert found[0] == ['images', '2', '32']
    assert found[1] == ['BN', '51.00 ± 1.00', '52.00 ± 1.00']
    assert found[4] == ["BN, the paper's", '-', '76.4']
    lines = {line[0]: line for line in tables(results)['All runs'][0].cells}
    assert lines['BN, 32'][1:4] == ['52.00 ± 1.00', '76.4', '3']
    assert lines['SSN, 2'][-1] == '100 %, 100 %, 100 %'
    assert lines['SN, 2'][-1] == '0 %, 0 %, 0 %'


def test_notes_say_where_less_is_better(results):
    notes = [note for _, note in tables(results).values()]
    assert not any('better' in note for note in notes)
    told = {title: note for title, (_, note) in tables(replace(results, rule='less')).items()}
    assert {title for title, note in told.items() if '; less top-1 is better' in note} == {
        *('top-1 by images', 'SSN against the others', 'SSN minus the others', 'All runs')
    }


def test_tables_go_into_a_page_where_it_asks_for_them(results):
    page = 'before\n<!-- grid: All runs -->\nold\n<!-- end -->\nafter\n'
    filled = fill_page(page, results)
    assert str(tables(results)['All runs'][0]) in filled
    assert fill_page(filled, results) == filled
    assert filled.startswith('before\n<!-- grid: All runs -->')
    assert filled.endswith('<!-- end -->\nafter\n')
    with pytest.raises(ValueError, match="no table 'Wheels'; there are top-1 by images"):
        fill_page(page.replace('All runs', 'Wheels'), results)
    with pytest.raises(ValueError, match='the page has no <!-- grid: TITLE -->'):
        fill_page('empty', results)


def test_a_page_may_compare_any_label_with_the_others(results):
    title = 'BN against the others'
    assert title not in tables(results)
    filled = fill_page(f'<!-- grid: {title} -->\n<!-- end -->\n', results)
    assert [line[0] for line in tables(results, ['BN'])[title][0].cells[1:]] == [
        *('BN - SN, 2', 'BN - SSN, 2', 'BN - SN, 32', 'BN - SSN, 32')
    ]
    assert '| BN - SSN, 32 |' in filled
    with pytest.raises(ValueError, match="no table 'GN against the others'"):
        fill_page(filled.replace(title, 'GN against the others'), results)


def test_rows_of_different_provenance_are_told(results):
    assert mixed(results) == []
    other = [dict(row) for row in results.rows]
    other[0]['provenance'] = {**other[0]['provenance'], 'torch': '3'}
    other[1]['data'] = 'another'
    told = mixed(replace(results, rows=other))
    assert told[0] == 'The results are of 2 versions of torch: 2, 3.'
    assert told[-1] == 'The results are of 2 versions of the data.'


def test_the_tool_prints_and_checks_tables(results, tmp_path, run_tool, run_alone):
    write_results(tmp_path / 'results.jsonl', results)
    page = tmp_path / 'a page.md'
    page.write_text('<!-- grid: All runs -->\n<!-- end -->\n')
    tool = [sys.executable, ROOT / 'tools/analysis_tools/make_tables.py', 'results.jsonl']
    code, output = run_tool(*tool, '--into', page, '--check')
    assert code == 1
    assert 'differs from results.jsonl; run\n' in output
    _, *again = shlex.split(output.splitlines()[-1])
    assert again[-3:] == ['results.jsonl', '--into', 'a page.md']
    assert run_alone(sys.executable, *again)[0] == 0
    assert run_tool(*tool, '--into', page, '--check')[0] == 0
    code, output = run_tool(*tool)
    assert code == 0
    assert str(tables(results)['SSN against the others'][0]) in output
    code, output = run_tool(*tool[:2], 'nothing.py')
    assert (code, 'no suite' in output) == (2, True)


def test_the_committed_pages_are_of_the_committed_results():
    pages = [(ROOT / f'docs/{name}.md').read_text('utf-8') for name in ('study', 'solar_cells')]
    files = sorted((ROOT / 'docs/study').glob('*/results.jsonl'))
    assert files
    for file in files:
        showing = [page for page in pages if f'<!-- {file.parent.name}: ' in page]
        assert showing, file
        for page in showing:
            assert fill_page(page, read_source(file)[0]) == page, file


def test_changes_of_ratios_are_of_pairs_of_seeds(results):
    def ratio(variant, seed):
        (own,) = [row for row in results.of('SSN', variant) if row['seed'] == seed]
        return 100 * average_ratio(unpack(own['ratios']), 'BN', 1)

    # at 32 images the ratios of another seed, so that they differ
    other = {(r['label'], r['variant'], r['seed']): r['ratios'] for r in results.rows}
    rows = [
        r | dict(ratios=other[r['label'], '2', (r['seed'] + (r['variant'] == '32')) % 3])
        for r in results.rows
    ]
    results = replace(results, rows=rows)
    table = ratio_change_table(results)
    lines = {line[0]: line[1:] for line in table.cells[1:]}
    assert lines.keys() == {'SN, 32 - 2', 'SSN, 32 - 2'}
    changes = [ratio('32', seed) - ratio('2', seed) for seed in range(3)]
    assert len(set(changes)) > 1
    own = compare(dict(enumerate(changes)), dict.fromkeys(range(3), 0.0))
    told = f'{own.mean:+.0f} ({own.low:+.0f} to {own.high:+.0f})'
    assert lines['SSN, 32 - 2'][table.cells[0].index('BN, variances') - 1] == told
    assert 'Changes of average ratios' in tables(results)
    alone = [row for row in results.rows if row['variant'] == '2']
    assert 'Changes of average ratios' not in tables(replace(results, rows=alone))
