import copy
import json
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import numpy as np
import pytest
import torch
from distributed import on_ranks
from like_gpu import LikeGPU
from mmengine.hooks import EMAHook, Hook
from mmengine.model import MMFullyShardedDataParallel
from mmengine.runner import Runner
from small_net import Net
from torch import nn
from torch.utils.data import Dataset

import ssn_mm
from ssn_mm import SSN
from ssn_mm.engine.hooks import SSNRadiusHook
from ssn_mm.layers import ssn_layers


class Digits(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        return torch.randn(3, 6, 6, generator=generator), index % 2


class Watch(Hook):
    """Notes what holds while an iteration computes."""

    def __init__(self):
        self.radii, self.selected = [], []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        model = getattr(runner.model, 'module', runner.model)
        self.radii.append(model.norm.radius.item())
        self.selected.append((*model.norm.selected, *model.second.selected))


def run(work_dir, hook=None, model=None, epochs=None, iters=12, stop=None, resume=False, extra=()):
    torch.manual_seed(0)
    watch = Watch()
    loop = dict(type='EpochBasedTrainLoop', max_epochs=epochs) if epochs else None
    runner = Runner(
        model=model or Net(),
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=Digits(),
            sampler=dict(type='DefaultSampler', shuffle=True),
            batch_size=2,
            collate_fn=dict(type='default_collate'),
        ),
        train_cfg=loop or dict(type='IterBasedTrainLoop', max_iters=iters),
        optim_wrapper=dict(
            constructor='SSNOptimWrapperConstructor',
            optimizer=dict(type='SGD', lr=0.5, momentum=0.9),
        ),
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=1),
            checkpoint=dict(type='CheckpointHook', interval=stop or 100, by_epoch=False),
        ),
        custom_hooks=[hook or SSNRadiusHook(interval=4), *extra, watch],
        randomness=dict(seed=0),
        resume=resume,
        experiment_name='-'.join((*Path(work_dir).parts[-2:], str(uuid4()))),
        log_level='WARNING',
    )
    if stop:  # as if the machine died after `stop` iterations
        runner.train_loop.stop_training = False
        watch.after_train_iter = lambda r, *_, **__: setattr(
            r.train_loop, 'stop_training', r.iter + 1 >= stop
        )
    runner.train()
    return runner, watch


def records(work_dir):
    header, *lines = Path(work_dir, 'ssn_ratios.jsonl').read_text().splitlines()
    return json.loads(header), [json.loads(line) for line in lines]


@pytest.mark.parametrize('loop', [dict(iters=12), dict(epochs=3)])
def test_the_radius_grows_from_0_to_1_per_iteration_and_every_row_ends_selected(tmp_path, loop):
    runner, watch = run(tmp_path, **loop)
    np.testing.assert_allclose(watch.radii, np.linspace(0, 1, 12), atol=1e-6)
    assert None not in watch.selected[-1]
    logits = runner.model.norm.ratio_logits
    assert torch.equal(logits.sort(-1).values, torch.tensor([[0.0, 0, 1]] * 2))


def test_a_selected_row_never_changes(tmp_path):
    _, watch = run(tmp_path, iters=40)
    for row in zip(*watch.selected, strict=True):
        selected = [name for name in row if name]
        assert selected
        assert len(set(selected)) == 1
        assert None not in row[row.index(selected[0]) :]


def test_radius_and_counts_of_selected_rows_are_logged_to_the_visualisation_backends(tmp_path):
    runner, _ = run(tmp_path)
    (scalars,) = tmp_path.rglob('scalars.json')
    last = json.loads(scalars.read_text().splitlines()[-1])
    assert last['ssn/radius'] == 1
    assert last['ssn/selected'] == 1
    assert last['ssn/IN'] + last['ssn/LN'] + last['ssn/BN'] == 4
    assert runner.message_hub.get_scalar('train/ssn/radius').data[0].size == 3


def test_ratios_over_time_are_written_at_the_interval_and_at_the_end(tmp_path):
    runner, _ = run(tmp_path, iters=10)
    header, lines = records(tmp_path)
    assert header == dict(layers=['norm', 'second'], normalizers=[['IN', 'LN', 'BN']] * 2)
    assert [line['iter'] for line in lines] == [4, 8, 10]
    np.testing.assert_allclose(lines[0]['ratios'][0], np.full((2, 3), 1 / 3), atol=0.3)
    assert lines[-1]['ratios'][0] == runner.model.norm.ratios().tolist()
    np.testing.assert_allclose(np.sum(lines[1]['ratios'], -1), np.ones((2, 2)), atol=2e-4)


def test_a_resumed_training_goes_on_where_it_stood(tmp_path):
    whole, _ = run(tmp_path / 'whole')
    run(tmp_path / 'parts', stop=8)
    with (tmp_path / 'parts' / 'ssn_ratios.jsonl').open('a') as file:
        file.write('{"iter": 9, "ratios": []}\n{"iter": 10, "rat')  # killed after the checkpoint
    resumed, watch = run(tmp_path / 'parts', resume=True)
    np.testing.assert_allclose(watch.radii, np.linspace(0, 1, 12)[8:], atol=1e-6)
    assert [r['iter'] for r in records(tmp_path / 'parts')[1]] == [4, 8, 12]
    for key, value in whole.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[key], value, msg=key)


def test_a_training_that_starts_from_a_checkpoint_starts_the_radius_again(tmp_path):
    run(tmp_path / 'first', stop=8)
    fresh = Net()
    fresh.load_state_dict(torch.load(tmp_path / 'first' / 'iter_8.pth')['state_dict'])
    _, watch = run(tmp_path / 'second', model=fresh)
    assert watch.radii[0] == 0


@pytest.mark.parametrize('update_buffers', [True, False])
def test_an_ema_copy_is_one_hot_wherever_its_source_is(tmp_path, update_buffers):
    ema = EMAHook(momentum=0.01, update_buffers=update_buffers)
    runner, _ = run(tmp_path, iters=20, extra=[ema])
    for name in ('norm', 'second'):
        source, copy = getattr(runner.model, name), getattr(ema.ema_model.module, name)
        assert None not in source.selected
        assert copy.selected == source.selected


def test_a_model_without_ssn_is_left_alone(tmp_path):
    model = Net()
    model.norm, model.second = nn.BatchNorm2d(4), nn.Identity()
    runner = Runner(
        model=model,
        work_dir=str(tmp_path),
        train_dataloader=dict(
            dataset=Digits(),
            sampler=dict(type='DefaultSampler'),
            batch_size=4,
            collate_fn=dict(type='default_collate'),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        custom_hooks=[dict(type='SSNRadiusHook')],
        experiment_name=str(uuid4()),
        log_level='WARNING',
    )
    runner.train()
    assert not (tmp_path / 'ssn_ratios.jsonl').exists()


def test_four_normalizers_need_a_larger_radius(tmp_path):
    schedule = dict(type='linear', end=0.82)
    run(tmp_path / 'three', hook=SSNRadiusHook(schedule))
    four = Net(('IN', 'LN', 'BN', 'GN'))
    with pytest.raises(ValueError, match=r'ends at 0\.82 and never reaches r_c = 0\.866'):
        run(tmp_path / 'four', hook=SSNRadiusHook(schedule), model=four)


def test_layers_that_are_frozen_and_not_selected_are_refused(tmp_path):
    model = Net()
    model.norm.requires_grad_(False)
    with pytest.raises(ValueError, match=r'1 SSN layers are frozen and not selected, norm\.\.\.'):
        run(tmp_path, model=model)
    with torch.no_grad():
        model.norm.ratio_logits.copy_(torch.tensor([[0.0, 1, 0], [0, 0, 1]]))
    runner, _ = run(tmp_path, model=model)  # layers that have selected may be
    assert runner.model.norm.selected == ('LN', 'BN')


def test_fbn_without_statistics_is_refused_with_all_layers_named(tmp_path):
    with pytest.raises(ValueError, match=r'2 layers, norm, second: FBN .* neither measured nor'):
        run(tmp_path / 'new', model=Net(('IN', 'LN', 'FBN')))
    model = Net(('IN', 'LN', 'FBN'))
    for layer in (model.norm, model.second):
        layer.running_var.fill_(2)
    run(tmp_path / 'loaded', model=model)
    assert (model.norm.running_var == 2).all()
    updating = SSN(4, ('IN', 'FBN'), update_fbn=True)
    model.norm, model.second = updating, updating
    run(tmp_path / 'updating', model=model)
    assert not updating.lacks_statistics()


def test_a_radius_beyond_r_c_from_the_start_needs_layers_that_prefer_one(tmp_path):
    with pytest.raises(ValueError, match=r'2 SSN layers prefer nothing, norm, second\.\.\.'):
        run(tmp_path / 'tied', SSNRadiusHook('constant'))
    model = Net()
    model.norm.ratio_logits.data = torch.tensor([[1, 3.0, 2], [4, 1, 2]])
    model.second.ratio_logits.data = torch.eye(3)[[2, 0]]
    _, watch = run(tmp_path / 'run', SSNRadiusHook('constant'), model)
    assert set(watch.selected) == {('LN', 'IN', 'BN', 'IN')}


def trained(folder):
    """A network that has selected, loaded as ``load_from`` does."""
    run(folder / 'first', iters=12, stop=12)
    model = Net()
    model.load_state_dict(torch.load(folder / 'first' / 'iter_12.pth')['state_dict'])
    return model


def selected(model):
    return (*model.norm.selected, *model.second.selected)


@pytest.mark.parametrize('selection', ['keep', 'fix'])
def test_fine_tuning_keeps_what_was_selected(tmp_path, selection):
    model = trained(tmp_path)
    before = selected(model)
    runner, watch = run(tmp_path / 'second', SSNRadiusHook(selection=selection), model)
    assert watch.radii[0] == 0  # the radius starts again
    assert set(watch.selected) == {before}
    assert None not in selected(runner.model)


def test_fine_tuning_relearns_from_the_centre(tmp_path):
    model = trained(tmp_path)
    with torch.no_grad():  # a selection that this training would not make
        for layer in (model.norm, model.second):
            layer.ratio_logits.copy_(1 - layer.ratio_logits)
    _, watch = run(tmp_path / 'second', SSNRadiusHook(selection='relearn'), model, iters=12)
    assert watch.selected[0] == (None,) * 4
    assert None not in watch.selected[-1]
    assert (model.norm.ratio_logits.sort(-1).values == torch.tensor([0.0, 0, 1])).all()
    run(tmp_path / 'second', SSNRadiusHook(selection='relearn'), model, iters=14, resume=True)
    assert selected(model) == watch.selected[-1]  # resuming relearns nothing


def test_fixing_what_is_not_selected_is_refused(tmp_path):
    message = r"selection='fix', but 2 SSN layers have not selected, norm, second\.\.\.: load"
    with pytest.raises(ValueError, match=message):
        run(tmp_path, SSNRadiusHook(selection='fix'))
    with pytest.raises(ValueError, match=r"one of .*'relearn'.*, got 'thaw'"):
        SSNRadiusHook(selection='thaw')


def test_an_interval_below_one_is_refused():
    with pytest.raises(ValueError, match='got 0'):
        SSNRadiusHook(interval=0)


def begin_under_fsdp1(rank):
    wrapped = MMFullyShardedDataParallel(Net(), device_id=torch.device('cpu'))
    with pytest.raises(ValueError, match='FSDP1, MMFullyShardedDataParallel'):
        SSNRadiusHook().before_train(SimpleNamespace(model=wrapped, iter=0))


def test_mmengines_fsdp_is_refused_before_the_first_iteration(tmp_path):
    on_ranks(2, tmp_path, begin_under_fsdp1)


def test_the_hook_waits_for_no_gpu_between_two_records():
    """A step is the runner's; what the hook does around it is queued on a GPU, copies included."""
    net = nn.Sequential(SSN(4), SSN(4, normalizers=('IN', 'BN')))
    average = EMAHook()
    average.ema_model = SimpleNamespace(module=copy.deepcopy(net))
    hook = SSNRadiusHook(interval=50)
    hook.layers, hook.recorded = dict(ssn_layers(net)), {}
    runner = SimpleNamespace(model=net, iter=3, max_iters=100, hooks=[hook, average])
    with LikeGPU():
        hook.before_train_iter(runner, 3)
        hook.after_train_iter(runner, 3)
    assert net[0].radius == average.ema_model.module[0].radius > 0


def test_the_option_of_configs_of_0_1_goes_on_with_a_warning():
    with pytest.warns(UserWarning, match="choices='freeze' is now selection='fix'"):
        assert SSNRadiusHook(choices='freeze').selection == 'fix'
    with pytest.raises(AttributeError, match='set_choices is now set_selection'):
        _ = ssn_mm.set_choices
