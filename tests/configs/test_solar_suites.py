"""The suites on solar cells: splits, batches and recipes of every run."""

from pathlib import Path

import pytest

from ssn_mm.config_files import read_config
from ssn_mm.suites import suite as suite_module
from ssn_mm.suites.suite import read_suite

SUITES = Path(__file__).parents[2] / 'configs/suites'
RATE = {'optim_wrapper.optimizer.lr': 0.123}
NORMS = {
    'BN': None,
    'FrozenBN': dict(to='FrozenBN'),
    'GN': dict(to='GN', num_groups=8),
    'SSN': dict(to='SSN', start=dict(FBN=1)),
    'SSN from BN': dict(to='SSN', start='kept'),
    'SSN even': dict(to='SSN', start='even'),
    'SSN without FBN': dict(to='SSN', start='kept', normalizers=['IN', 'LN', 'BN']),
    'SSN even without FBN': dict(to='SSN', start='even', normalizers=['IN', 'LN', 'BN']),
}
SYNC = {name: NORMS[name] for name in ('BN', 'FrozenBN', 'SSN')}
SYNC |= dict(SyncBN=dict(to='SyncSSN', normalizers=['IN', 'BN']))
LOADERS = ('train', 'val', 'test')


@pytest.fixture
def read(monkeypatch):
    """Reads a suite, with one recipe for all norms where it names files of recipes."""
    labels = (*NORMS, 'SyncBN')
    monkeypatch.setattr(suite_module, 'read_recipes', lambda path: dict.fromkeys(labels, RATE))

    def read(name):
        runs = read_suite(SUITES / f'{name}.py').runs
        return [(run, read_config(run.config, run.options)) for run in runs]

    return read


@pytest.mark.parametrize(
    ('name', 'splits', 'batches', 'epochs'),
    [
        ('solar_cells', 5, {2, 4, 16}, 4),
        ('solar_cells_longer', 3, {2, 4, 16}, 8),
        ('solar_resnet', 5, {2, 4, 16}, 10),
        ('solar_resnet_longer', 3, {2, 4, 16}, 20),
        ('solar_sync', 5, {2}, 4),
        ('solar_sync_longer', 3, {2}, 8),
    ],
)
def test_a_seed_is_a_split_and_every_batch_sees_as_many_pictures(
    read, name, splits, batches, epochs
):
    runs = read(name)
    assert {run.seed for run, _ in runs} == set(range(splits))
    assert {cfg.train_dataloader.batch_size for _, cfg in runs} == batches
    for run, cfg in runs:
        data = {loader: cfg[f'{loader}_dataloader'].dataset for loader in LOADERS}
        assert {own.split for own in data.values()} == {cfg.randomness.seed} == {run.seed}
        assert [own.subset for own in data.values()] == ['train', 'test', 'test']
        assert run.variant in ('', str(cfg.train_dataloader.batch_size))
        assert cfg.train_cfg.max_epochs == epochs
        assert cfg.optim_wrapper.optimizer.lr == 0.123
        assert all(own.convert_to_iter_based for own in cfg.param_scheduler)
        assert cfg.train_dataloader.drop_last  # no batch of one picture
        for own in cfg.get('custom_hooks', []):
            assert own.schedule == dict(type='linear', end=2)


@pytest.mark.parametrize(
    ('name', 'rates'),
    [
        *(('solar_search_2', 5), ('solar_search_16', 5)),
        *(('solar_resnet_search_2', 3), ('solar_resnet_search_16', 3)),
    ],
)
def test_searches_have_the_same_trials_for_every_norm_on_cells_of_their_own(read, name, rates):
    runs = read(name)
    trials = {(run.label, cfg.optim_wrapper.optimizer.lr) for run, cfg in runs}
    assert len(trials) == len(runs) == rates * len({run.label for run, _ in runs})
    for _, cfg in runs:
        subsets = [cfg[f'{loader}_dataloader'].dataset.subset for loader in LOADERS]
        assert subsets == ['train', 'tune', 'tune']
        assert f'_{cfg.train_dataloader.batch_size}' in name[-3:]


@pytest.mark.parametrize(('name', 'norms'), [('solar_cells', NORMS), ('solar_sync', SYNC)])
def test_norms_are_converted_and_let_go_where_they_start_at_a_vertex(read, name, norms):
    runs = read(name)
    assert {run.label for run, _ in runs} == norms.keys()
    for run, cfg in runs:
        assert cfg.model.backbone.get('convert_norms') == norms[run.label]
        hooks = [own for own in cfg.get('custom_hooks', []) if own.type == 'SSNRadiusHook']
        assert len(hooks) == run.label.startswith(('SSN', 'Sync'))
        fixed = 'even' in run.label or run.label == 'SyncBN'
        assert all((own.let_go is None) == fixed for own in hooks)
