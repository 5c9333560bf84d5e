"""Cells of solar modules: their classes, splits and parts, of drawn ones and of the photographs."""

from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest
from drawn_cells import draw_cells
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope

from ssn_mm.datasets import solar_cells
from ssn_mm.datasets.check.preflight import DatasetMissingError, check_datasets
from ssn_mm.datasets.solar_cells import SUBSETS, SolarCells, parts_of, read_labels

CONFIGS = Path(__file__).parents[2] / 'configs'


@pytest.fixture
def drawn(tmp_path):
    return draw_cells(tmp_path)


def names(dataset):
    return {
        Path(sample['img_path']).name for sample in map(dataset.get_data_info, range(len(dataset)))
    }


def test_every_cell_is_tested_in_one_split_or_tuned_with_and_trained_with_in_the_others(drawn):
    tests, tune = [], names(SolarCells('tune', data_root=str(drawn)))
    for split in range(5):
        train, test, same = (
            names(SolarCells(subset, split, str(drawn))) for subset in ('train', 'test', 'tune')
        )
        assert same == tune
        assert not train & test
        assert not (train | test) & tune
        assert len(train | test | tune) == 96
        tests += test
    assert len(tests) == len(set(tests)) == 80


def test_parts_have_the_same_share_of_each_grade_of_each_kind_and_follow_from_names_alone(drawn):
    cells = read_labels(drawn / 'labels.csv')
    parts = dict(zip((name for name, *_ in cells), parts_of(cells), strict=True))
    counts = Counter((parts[name], grade, kind) for name, grade, kind in cells)
    assert set(counts.values()) == {2}
    assert len(counts) == 6 * 8
    backwards = cells[::-1]
    assert [parts[name] for name, *_ in backwards] == parts_of(backwards)


def test_a_sample_is_a_picture_and_whether_it_is_defective(drawn):
    steps = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        cells = DATASETS.build(
            dict(type='SolarCells', subset='test', data_root=str(drawn), pipeline=steps)
        )
    assert cells.metainfo['classes'] == ('functional', 'defective')
    graded = {Path(name).name: grade for name, grade, _ in read_labels(drawn / 'labels.csv')}
    for i in range(len(cells)):
        info = cells.get_data_info(i)
        assert info['gt_label'] == (graded[Path(info['img_path']).name] > 0.5)
    assert cells[0]['inputs'].shape == (3, 30, 30)


@pytest.mark.parametrize(
    ('arguments', 'told'),
    [
        (dict(subset='val'), "subset must be one of train, test, tune, got 'val'"),
        (dict(split=5), 'split must be one of 0 to 4, got 5'),
    ],
)
def test_another_subset_or_split_is_refused(drawn, arguments, told):
    with pytest.raises(ValueError, match=told):
        SolarCells(data_root=str(drawn), **arguments)


@pytest.mark.parametrize(
    'line',
    ['images/a.png 0.5 mono', 'images/a.png x mono', 'images/a.png 1.0', 'images/a.png 1.0 amorph',
     'images/a.png 1.0 mono 2', 'images/cell0000.png 1.0 mono'],
)  # fmt: skip
def test_a_line_of_the_labels_that_is_not_understood_is_told(drawn, line):
    with (drawn / 'labels.csv').open('a') as file:
        file.write(f'{line}\n')
    with pytest.raises(ValueError, match=rf"labels\.csv, line 97 is '{line}'"):
        SolarCells(data_root=str(drawn))


def test_without_the_photographs_a_training_says_what_to_install_before_it_begins(monkeypatch):
    monkeypatch.setattr(solar_cells, 'find_spec', lambda name: None)
    cfg = Config.fromfile(CONFIGS / 'demo/efficientnet_ssn_solar.py')
    with pytest.raises(DatasetMissingError, match=r'pip install .*ssn-mm\[solar\]'):
        check_datasets(cfg)
    with pytest.raises(DatasetMissingError, match=r'elpv_dataset has no labels\.csv'):
        SolarCells()


def test_a_folder_without_labels_is_told(tmp_path):
    with pytest.raises(DatasetMissingError, match=f'{tmp_path} has no labels'):
        SolarCells(data_root=str(tmp_path))


@pytest.mark.skipif(not find_spec('elpv_dataset'), reason='needs ssn-mm[solar]')
def test_the_photographs_are_those_of_the_paper():
    cells = read_labels(solar_cells.find_cells() / 'labels.csv')
    graded = Counter((kind, round(3 * grade)) for _, grade, kind in cells)
    mono, poly = ([graded[kind, thirds] for thirds in range(4)] for kind in ('mono', 'poly'))
    assert (mono, poly) == ([588, 117, 56, 313], [920, 178, 50, 402])
    sizes = {subset: len(SolarCells(subset)) for subset in SUBSETS}
    assert sum(sizes.values()) == 2624
    assert sizes['test'] in (437, 438)
