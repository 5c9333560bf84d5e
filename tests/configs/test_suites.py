"""The suites that ship: each of the paper's tables, and a small one of each."""

from pathlib import Path

import pytest
from mmengine.config import Config

from ssn_mm.suites.provenance import provenance_of
from ssn_mm.suites.suite import read_suite

SUITES = Path(__file__).parents[2] / 'configs/suites'
FULL = dict(
    table1_imagenet=6, table2_imagenet=20, table4_ade20k=4, table4_cityscapes=4,
    table5_kinetics400=10, radius_imagenet=4, stages_imagenet=3, gn_imagenet=2,
)  # fmt: skip
SMALL = dict(
    table1_digits=18, table2_digits=90, table4_digits=18, table5_digits=18,
    radius_digits=12, stages_digits=9, gn_digits=6,
)  # fmt: skip
OWN = dict(precision_digits=9, selectors_digits=18, selectors_search_digits=18)  # not of the paper
OWN |= dict(contestants_resnet_digits=15, contestants_deeplab_digits=15, contestants_i3d_digits=15)
OWN |= dict(solar_search_2=24, solar_search_16=24)
OWN |= dict(solar_resnet_search_2=9, solar_resnet_search_16=9)


def test_every_table_of_the_paper_has_a_suite_and_a_small_one():
    there = {path.stem for path in SUITES.glob('[a-z]*.py')}
    assert there == FULL.keys() | SMALL.keys() | OWN.keys()
    assert {name.split('_')[0] for name in FULL} == {name.split('_')[0] for name in SMALL}
    readme = (SUITES / 'README.md').read_text()
    assert all(f'{name}.py' in readme for name in there)


@pytest.mark.parametrize(('name', 'runs'), [*FULL.items(), *SMALL.items(), *OWN.items()])
def test_suites_are_read_and_their_overrides_fit(name, runs):
    suite = read_suite(SUITES / f'{name}.py')
    assert len(suite.runs) == runs
    for run in {(run.label, run.variant): run for run in suite.runs}.values():
        cfg = Config.fromfile(run.config)
        cfg.merge_from_dict(dict(run.options))
        assert cfg.randomness.seed == run.seed
        assert len(provenance_of(cfg)['config']) == 12


@pytest.mark.parametrize('name', [n for n in FULL if n != 'table5_kinetics400'])
def test_full_suites_have_the_papers_numbers(name):
    suite = read_suite(SUITES / f'{name}.py')
    rows = {f'{r.label}, {r.variant}' if r.variant else r.label for r in suite.runs}
    assert rows == suite.paper.keys()
    assert all(len(values) == len(suite.metrics) for values in suite.paper.values())


def test_small_batches_take_as_many_pictures_and_a_smaller_step():
    for run in read_suite(SUITES / 'table2_digits.py').runs:
        cfg = Config.fromfile(run.config)
        cfg.merge_from_dict(dict(run.options))
        size = int(run.variant)
        assert cfg.train_dataloader.batch_size == size
        assert cfg.optim_wrapper.optimizer.lr == pytest.approx(0.004 * size / 32)
        assert cfg.param_scheduler[1].end * size == 5 * 4000
        assert cfg.train_cfg.max_epochs == 5
