"""All runs of a study in one file, ours and those of others."""

import csv
import json
import math
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest
from mmengine.config import Config
from recorded import make_results

from ssn_mm.suites import StudyRun, load_results, write_study
from ssn_mm.suites import study as study_module
from ssn_mm.suites.results import read_results
from ssn_mm.suites.tidying import facts_of, study_runs

ROOT = Path(__file__).parents[2]
KINDS = dict(version=int, seed=int, value=float, memory=float, metrics=dict, curves=dict, label=str)


@pytest.fixture
def runs():
    results = make_results()
    for row in results.rows:
        row |= dict(config='x.py', norm=row['label'], selector=None, batch=int(row['variant']))
    return study_runs(results)


@pytest.fixture
def changed(tmp_path, runs):
    """Writes runs to a CSV file, with cells of the first changed; returns the file."""

    def write(**cells):
        path = tmp_path / 'theirs.csv'
        write_study(path, runs)
        with path.open(newline='') as file:
            rows = list(csv.DictReader(file))
        rows[0] |= {name: value for name, value in cells.items() if value is not None}
        for name in [name for name, value in cells.items() if value is None]:
            for row in rows:
                del row[name]
        with path.open('w', newline='') as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        return path

    return write


@pytest.mark.parametrize('suffix', ['csv', 'parquet'])
def test_what_is_written_is_read_again_with_its_types(tmp_path, runs, suffix):
    if suffix == 'parquet':
        pytest.importorskip('pyarrow')
    gone = replace(runs[0], run='other', value=None, metrics={}, memory=None, batch=None, seed=None)
    odd = replace(runs[0], run='"odd",\nname; Müller', label='=1+1', norm=None)
    write_study(tmp_path / f'all.{suffix}', [*runs, gone, odd])
    found = load_results(tmp_path / f'all.{suffix}')
    assert found == [*runs, gone, odd]
    for name, kind in KINDS.items():
        assert isinstance(getattr(found[0], name), kind)
    assert asdict(found[0])['run'] == runs[0].run


def test_a_run_has_its_selection_and_no_number_that_json_lacks(runs):
    ssn, bn = (next(run for run in runs if run.label == label) for label in ('SSN', 'BN'))
    assert bn.selection is None
    assert set(ssn.selection) == {
        'backbone.bn1', 'backbone.layer1.0.bn1', 'backbone.layer1.0.bn2', 'head.convs.0.bn'
    }  # fmt: skip
    assert all(name in ('IN', 'LN', 'BN') for pair in ssn.selection.values() for name in pair)
    sn = next(run for run in runs if run.label == 'SN')
    assert {name for pair in sn.selection.values() for name in pair} == {''}
    results = make_results()
    results.rows[0]['metrics']['top-1'] = math.nan
    results.rows[0]['curves']['loss'][1][0] = math.nan
    first = study_runs(replace(results, rows=[results.rows[0] | dict(config='x.py')]))[0]
    assert (first.value, first.metrics, first.curves['loss'][1][0]) == (None, {}, None)


@pytest.mark.parametrize(
    ('norm_cfg', 'norm', 'selector'),
    [
        (dict(type='GN', num_groups=1), 'LN', None),
        (dict(type='GN', num_groups=8), 'GN', None),
        (dict(type='BN3d'), 'BN', None),
        (dict(type='FRN', eps=1e-6), 'FRN+TLU', None),
        (dict(type='SSN', normalizers=('IN', 'BN')), 'SSN', 'sparsestmax'),
        (dict(type='SSN', selector='entmax15'), 'SSN', 'entmax15'),
        (dict(type='SN'), 'SN', 'softmax'),
        (dict(type='Theirs'), 'Theirs', None),
    ],
)
def test_norm_selector_and_batch_are_those_of_the_config(norm_cfg, norm, selector):
    model = dict(backbone=dict(norm_cfg=norm_cfg))
    facts = facts_of(Config(dict(model=model, train_dataloader=dict(batch_size=4))))
    assert facts == dict(norm=norm, selector=selector, batch=4)
    convert = [dict(to='FrozenBN'), dict(start='even')]
    models = [dict(backbone=dict(type='X', convert_norms=own)) for own in convert]
    found = [facts_of(Config(dict(model=model)))['norm'] for model in models]
    assert found == ['FrozenBN', 'SSN']
    assert facts_of(Config(dict(a=1))) == dict(norm=None, selector=None, batch=None)


def test_the_committed_table_is_that_of_the_results():
    found = []
    for file in sorted((ROOT / 'docs/study').glob('*/results.jsonl')):
        found += study_runs(read_results(file))
    assert len(found) > 100
    assert load_results() == found, 'run: tools/analysis_tools/tidy_results.py'


def test_both_committed_files_have_the_same_runs():
    pytest.importorskip('pyarrow')
    assert load_results(study_module.SHIPPED.with_suffix('.parquet')) == load_results()


def test_pandas_makes_a_data_frame_of_it(runs):
    pandas = pytest.importorskip('pandas')
    frame = pandas.DataFrame(runs)
    assert list(frame) == [field.name for field in fields(StudyRun)]
    assert frame.groupby('label').value.mean()['SSN'] > frame.groupby('label').value.mean()['BN']


WRONG = {
    'version': ('2', 'version is 2, and this ssn_mm reads version 1 of the columns'),
    'suite': ('', "suite is '', expected a text that is not empty"),
    'seed': ('1.5', "seed is '1.5', expected a whole number of at least 0"),
    'batch': ('0', "batch is '0', expected a whole number of at least 1"),
    'value': ('nan', "value is 'nan', expected a finite number"),
    'seconds': ('-1', "seconds is '-1', expected a number of at least 0"),
    'memory': ('much', "memory is 'much', expected a number of at least 0"),
    'metrics': ('{"top-1": "high"}', 'metrics is .* expected JSON, a number for each name'),
    'curves': ('{"loss": [[1, 2], [3]]}', 'curves is .*iterations and their values'),
    'selection': ('{"bn1": ["IN", "XN"]}', 'selection is .*two of IN, LN, BN'),
    'versions': ('{"torch": 2}', 'versions is .*a text for each name'),
}


@pytest.mark.parametrize('name', WRONG)
def test_a_cell_that_does_not_fit_is_told_with_its_line_and_value(changed, name):
    value, told = WRONG[name]
    with pytest.raises(ValueError, match=rf'theirs\.csv, line 2: {told}'):
        load_results(changed(**{name: value}))


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('metrics', '[1]'),
        ('metrics', '{"a": Infinity}'),
        ('metrics', '{"a": true}'),
        ('curves', '{"a": [1, 2]}'),
        ('curves', '{"a": [["x"], [1]]}'),
        ('selection', '{"a": [["IN"], "BN"]}'),
        ('selection', '{"a": ["IN"]}'),
        ('versions', 'torch 2'),
        ('seed', '-1'),
        ('value', '1e999'),
    ],
)
def test_other_cells_that_do_not_fit(changed, name, value):
    with pytest.raises(ValueError, match=f'line 2: {name} is'):
        load_results(changed(**{name: value}))


def test_a_column_that_lacks_or_is_there_beside_is_told(changed):
    with pytest.raises(ValueError, match=r"columns lack \['norm'\] and have \[\] beside"):
        load_results(changed(norm=None))
    with pytest.raises(ValueError, match='version is None, and this ssn_mm reads version 1'):
        load_results(changed(version=None))


def test_what_is_no_file_of_results_is_told(tmp_path, runs):
    with pytest.raises(FileNotFoundError, match=r'no results at .*none\.csv'):
        load_results(tmp_path / 'none.csv')
    (tmp_path / 'a.json').write_text(json.dumps([]))
    with pytest.raises(ValueError, match=r'a \.csv or a \.parquet file'):
        load_results(tmp_path / 'a.json')
    (tmp_path / 'empty.csv').write_text('version,suite\n')
    with pytest.raises(ValueError, match='has no runs'):
        load_results(tmp_path / 'empty.csv')
    (tmp_path / 'ragged.csv').write_text('version,suite\n1\n')
    with pytest.raises(ValueError, match='no CSV of results: line 2 has 1 of 2 cells'):
        load_results(tmp_path / 'ragged.csv')
    (tmp_path / 'binary.csv').write_bytes(b'\xff\xfe\x00')
    with pytest.raises(ValueError, match='no CSV of results'):
        load_results(tmp_path / 'binary.csv')
    write_study(tmp_path / 'twice.csv', [runs[0], runs[0]])
    with pytest.raises(ValueError, match='is there twice'):
        load_results(tmp_path / 'twice.csv')


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, runs, monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'pyarrow', None)
    with pytest.raises(ModuleNotFoundError, match=r'ssn-mm\[parquet\]'):
        write_study(tmp_path / 'a.parquet', runs)


def test_a_damaged_parquet_file_is_told(tmp_path):
    pytest.importorskip('pyarrow')
    (tmp_path / 'a.parquet').write_bytes(b'PAR1 and no more')
    with pytest.raises(ValueError, match='no Parquet file of results'):
        load_results(tmp_path / 'a.parquet')


def test_the_example_of_the_study_runs_as_it_stands(capsys):
    import re

    page = (ROOT / 'docs/study.md').read_text(encoding='utf-8')
    (text,) = re.findall(r'```python\n(from ssn_mm\.suites.*?)```', page, re.DOTALL)
    exec(compile(text, 'docs/study.md', 'exec'), {})
    assert re.match(r"SSN 9\d\.\d+ \{'backbone", capsys.readouterr().out)
