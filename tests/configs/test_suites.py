"""The suites that ship: each of the paper's tables, and a small one of each."""

import re
from pathlib import Path

import pytest
from mmengine.config import Config

from ssn_mm.config_files import read_config
from ssn_mm.suites.provenance import provenance_of
from ssn_mm.suites.suite import read_suite

SUITES = Path(__file__).parents[2] / 'configs/suites'
FULL = dict(
    table1_imagenet=6, table2_imagenet=20, table4_ade20k=4, table4_cityscapes=4,
    table5_kinetics400=10, radius_imagenet=4, stages_imagenet=3, gn_imagenet=2,
)  # fmt: skip
SMALL = dict(
    table2_digits=195, table4_digits=30, table5_digits=30, radius_digits=20, stages_digits=15,
    gn_digits=20,
)  # fmt: skip
OWN = dict(precision_digits=9, selectors_digits=30, selectors_search_digits=18)  # not of the paper
OWN |= dict(radius_cost_digits=20, retrained_digits=20)
OWN |= dict(contestants_deeplab_digits=15, contestants_i3d_digits=15)
OWN |= dict(radius_longer_digits=12, stages_longer_digits=9, gn_longer_digits=12)
OWN |= dict(retrained_longer_digits=12, radius_cost_longer_digits=12, selectors_longer_digits=18)
OWN |= dict(search_deeplab_digits=36, table4_longer_digits=18)
OWN |= dict(search_i3d_digits=24, table5_longer_digits=18)
OWN |= dict(solar_search_2=40, solar_search_16=40, solar_logits_search_2=12)
OWN |= dict(solar_resnet_search_2=9, solar_resnet_search_16=9)
OWN |= dict(solar_cells=120, solar_cells_longer=72, solar_sync=20, solar_sync_longer=12)
OWN |= dict(solar_resnet=45, solar_resnet_longer=27)
OWN |= dict(search_32_digits=75, search_8_digits=65, search_2_digits=65, table2_longer_digits=117)


def read(name):
    """A suite, if the searches that it takes recipes from have been trained."""
    stated = Config.fromfile(SUITES / f'{name}.py').get('recipes', {})
    files = [stated] if isinstance(stated, str) else dict(stated).values()
    if not all((SUITES / file).is_file() for file in files):
        pytest.skip(f'{name} has no recipes yet')
    return read_suite(SUITES / f'{name}.py')


def test_every_table_of_the_paper_has_a_suite_and_a_small_one():
    there = {path.stem for path in SUITES.glob('[a-z]*.py')}
    assert there == FULL.keys() | SMALL.keys() | OWN.keys()
    of_the_paper = {name.split('_')[0] for name in FULL} - {'table1'}  # in small, a row of table 2
    assert of_the_paper == {name.split('_')[0] for name in SMALL}
    readme = (SUITES / 'README.md').read_text()
    assert all(f'{name}.py' in readme for name in there)


@pytest.mark.parametrize(('name', 'runs'), [*FULL.items(), *SMALL.items(), *OWN.items()])
def test_suites_are_read_and_their_overrides_fit(name, runs):
    suite = read(name)
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
    reported = 2 if name.startswith('table5') else 1  # the paper has top-5 of videos alone
    assert all(len(values) == reported for values in suite.paper.values())
    assert all(metric.endswith(('top1', 'top5', 'mIoU')) for metric in suite.metrics)


@pytest.mark.parametrize(('name', 'epochs'), [('table2_digits', 80), ('table2_longer_digits', 160)])
def test_every_batch_size_sees_as_many_pictures(name, epochs):
    runs = read(name).runs
    assert {int(run.variant) for run in runs} == {2, 8, 32}
    for run in {(run.label, run.variant): run for run in runs}.values():
        cfg = read_config(run.config, run.options)
        assert cfg.train_dataloader.batch_size == int(run.variant)
        assert cfg.train_cfg.max_epochs == cfg.param_scheduler[1].end == epochs
        assert all(own.convert_to_iter_based for own in cfg.param_scheduler)
        assert not cfg.train_dataloader.dataset.get('tuning')


def leaves(node, path=()):
    """What a config says, by its path."""
    if isinstance(node, dict | list | tuple):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from leaves(value, (*path, key))
    else:
        yield '.'.join(map(str, path)), node


TIMES = (  # steps are those of batch renormalization
    r'train_cfg\.(max_(epochs|iters)|val_interval)|param_scheduler\.\d\.(begin|end|T_max)'
    r'|default_hooks\.checkpoint\.interval|model\..*\.steps\.\d'
)
LONGER = [name for name in SMALL.keys() | OWN.keys() if 'longer' in name]


@pytest.mark.parametrize('name', sorted(LONGER))
def test_a_longer_suite_is_the_same_twice_as_long(name):
    short, long = read(re.sub('_longer', '', name)), read(name)
    assert (short.longer, long.longer) == (name, '')
    assert {run.seed for run in long.runs} == {0, 1, 2}
    runs = {run.name: run for run in short.runs}
    for run in {(run.label, run.variant): run for run in long.runs}.values():
        own = dict(leaves(read_config(run.config, run.options).to_dict()))
        half = read_config(runs[run.name].config, runs[run.name].options).to_dict()
        for place, value in leaves(half):
            is_time = re.fullmatch(TIMES, place)
            assert own.pop(place) == (2 * value if is_time else value), place
        assert not own


def test_four_normalizers_are_trained_as_they_were_searched():
    search = {run.label: run for run in read('search_32_digits').runs}
    for run in read('gn_digits').runs[:2]:
        searched = search[f'{run.label} with GN']
        own, other = (read_config(each.config, each.options) for each in (run, searched))
        assert own.model == other.model
        assert own.model.backbone.norm_cfg.normalizers == ('IN', 'LN', 'BN', 'GN')


def test_batch_renormalization_is_stretched_with_its_training():
    short, long = (
        Config.fromfile(SUITES / f'{name}.py').norm_options
        for name in ('table2_digits', 'table2_longer_digits')
    )
    assert dict(long) == dict(short, steps=tuple(2 * step for step in short['steps']))


def test_the_second_stage_has_a_hundredth_of_the_rate_of_the_first():
    first, _, second = (
        read_config(run.config, run.options) for run in read('stages_digits').runs[:3]
    )
    assert second.optim_wrapper.optimizer.lr == first.optim_wrapper.optimizer.lr
    assert second.param_scheduler[0] == dict(type='ConstantLR', factor=0.01, by_epoch=False)
    batches = 2000 // second.train_dataloader.batch_size + 1  # the last one is smaller
    assert second.param_scheduler[1].T_max == second.train_cfg.max_epochs * batches
    assert len(second.param_scheduler) == 2


@pytest.mark.parametrize('size', [32, 8, 2, 'deeplab', 'i3d'])
def test_searches_have_the_same_trials_for_every_norm_on_pictures_of_their_own(size):
    suite = read_suite(SUITES / f'search_{size}_digits.py')
    assert len({run.label for run in suite.runs}) * len(suite.variants) == len(suite.runs)
    for run in suite.runs:
        assert run.seed not in range(5)
    for run in suite.runs[:6]:
        cfg = read_config(run.config, run.options)
        for loader in ('train', 'val', 'test'):
            dataset = cfg[f'{loader}_dataloader'].dataset
            assert (dataset.tuning, dataset.data_root[-7:]) == (True, '_tuning')
