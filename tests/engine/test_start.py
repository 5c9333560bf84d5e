"""What a training starts from, however it is asked for, and what becomes of earlier files."""

import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
import resumed
import torch
from distributed import on_ranks
from mmengine.config import Config
from resumed import assert_same, last, state, train
from small_net import Net
from torch.utils.data import Dataset

from ssn_mm.engine.work_dir import WorkDir, last_checkpoint

TOO_LARGE = dict(batch_size=20, drop_last=True)


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """A training that nobody stopped."""
    folder = tmp_path_factory.mktemp('whole') / 'run'
    train(folder, 'iterations')
    return folder


@pytest.fixture(scope='module')
def other(tmp_path_factory):
    """The work dir of another, finished training, of another seed."""
    folder = tmp_path_factory.mktemp('other') / 'run'
    train(folder, 'iterations', seed=8)
    return folder


@pytest.fixture(scope='module')
def stopped(tmp_path_factory):
    """A work dir with checkpoints up to iteration 6; tests take a copy."""
    folder = tmp_path_factory.mktemp('stopped') / 'run'
    train(folder, 'iterations', stop=6)
    return folder


def said(folder):
    return ''.join(file.read_text() for file in folder.rglob('*.log'))


@pytest.mark.parametrize('start', ['weights alone', 'a finished training'])
def test_resuming_with_load_from_goes_on_from_the_work_dir_and_only_begins_with_load_from(
    tmp_path, other, start
):
    file = tmp_path / 'start.pth'
    shutil.copy(other / 'iter_14.pth', file)
    if start == 'weights alone':
        torch.save(torch.load(file, weights_only=True)['state_dict'], file)
    kwargs = dict(load_from=str(file))
    train(tmp_path / 'tuned', 'iterations', **kwargs)
    runner = train(tmp_path / 'parts', 'iterations', stop=5, resume=True, **kwargs)
    assert not runner._resume  # as hooks ask
    told = said(tmp_path / 'parts')
    assert f'nothing to resume from in {tmp_path}/parts yet' in told
    assert f'starts from load_from={file}' in told
    train(tmp_path / 'parts', 'iterations', resume=True, **kwargs)
    assert 'Advance dataloader 5 steps' in said(tmp_path / 'parts')
    assert_same(state(tmp_path / 'parts'), state(tmp_path / 'tuned'))


@pytest.mark.parametrize('how', ['resume=FILE', 'resume_from=FILE', 'load_from', '--resume FILE'])
def test_a_named_file_wins_over_newer_ones_which_are_moved_aside(
    tmp_path, stopped, whole, how, monkeypatch
):
    folder = tmp_path / 'run'
    shutil.copytree(stopped, folder)
    file = str(folder / 'iter_3.pth')
    asked = dict(resume=True, load_from=file)
    if how == 'resume=FILE':
        asked = dict(resume=file)
    elif how == 'resume_from=FILE':  # mmcv's
        asked = dict(cfg=Config(dict(resume_from=file)))
    elif how == '--resume FILE':  # of mmpretrain's and mmaction2's tools, and from elsewhere
        file = str(shutil.move(file, tmp_path / 'iter_3.pth'))
        asked['load_from'] = file
        monkeypatch.setattr(sys, 'argv', ['train.py', 'config.py', '--resume', file])
    train(folder, 'iterations', **asked)
    assert 'Advance dataloader 3 steps' in said(folder)
    assert_same(state(folder), state(whole))
    (aside,) = folder.glob('before_*')
    there = {f'iter_{number}.pth' for number in (4, 5, 6)}
    moved = {file.name for file in aside.iterdir()}
    assert moved >= there
    assert torch.load(aside / 'iter_6.pth', weights_only=True)['meta']['iter'] == 6


def test_resume_goes_on_from_the_newest_where_resume_from_names_the_start(tmp_path, other):
    cfg = dict(resume_from=str(other / 'iter_2.pth'))
    for start in (2, 3):
        train(tmp_path, 'iterations', stop=start + 1, resume=True, cfg=Config(cfg))
        assert f'Advance dataloader {start} steps' in said(tmp_path)
    assert not list(tmp_path.glob('before_*'))


def test_clocks_alone_do_not_say_which_checkpoint_is_later(tmp_path):
    place, names = WorkDir(tmp_path), ('iter_9.pth', 'iter_10.pth', 'best_acc_iter_11.pth')
    for name in names:
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (5, 5))
    assert [file.name for file in place.checkpoints()] == ['iter_10.pth', 'iter_9.pth']
    os.utime(tmp_path / 'iter_9.pth', (9, 9))  # copied last
    later = place.later_than(tmp_path / 'iter_9.pth')
    assert {file.name for file in later} == {'iter_10.pth', 'best_acc_iter_11.pth'}
    assert {file.name for file in place.later_than(tmp_path / 'iter_1.pth')} == set(names)


def start_where_one_process_has_no_file(rank, folder, other):
    if rank:
        os.chdir(other)
    with pytest.raises(FileNotFoundError, match=r'^start\.pth is not there for process 1 on'):
        train(folder / 'run', 'iterations', load_from='start.pth')


def test_a_file_that_one_process_lacks_stops_all_and_none_waits(
    tmp_path, stopped, other, monkeypatch
):
    shutil.copy(stopped / 'iter_2.pth', tmp_path / 'start.pth')
    monkeypatch.chdir(tmp_path)
    on_ranks(2, tmp_path, start_where_one_process_has_no_file, tmp_path, other, seconds=60)


@pytest.mark.parametrize('count', ['TORCHELASTIC_RESTART_COUNT', 'SLURM_RESTART_COUNT'])
@pytest.mark.parametrize('asked', ['resume=FILE', 'load_from', 'nothing'])
def test_after_a_restart_a_training_goes_on_from_its_newest(
    tmp_path, other, whole, count, asked, monkeypatch
):
    file = str(other / 'iter_2.pth')
    kwargs = {'resume=FILE': dict(resume=file), 'load_from': dict(load_from=file)}.get(asked, {})
    train(tmp_path / 'whole', 'iterations', **kwargs)
    folder = tmp_path / 'run'
    train(folder, 'iterations', stop=5, **kwargs)
    monkeypatch.setenv(count, '1')
    train(folder, 'iterations', **kwargs)
    assert 'Advance dataloader 5 steps' in said(folder)
    assert_same(state(folder), state(tmp_path / 'whole'))


def test_a_restart_before_the_first_checkpoint_starts_as_the_first_time(
    tmp_path, stopped, other, monkeypatch
):
    monkeypatch.setenv('TORCHELASTIC_RESTART_COUNT', '1')
    for name, kwargs, goes_on in (
        ('file', dict(resume=str(other / 'iter_2.pth')), True),
        ('weights', dict(load_from=str(other / 'iter_2.pth')), False),
    ):
        runner = train(tmp_path / name, 'iterations', stop=3, **kwargs)
        assert runner._resume is goes_on
        assert ('Advance dataloader 2 steps' in said(tmp_path / name)) == goes_on


def test_hosts_that_join_a_torchrun_do_not_send_it_back_to_the_named_file(
    tmp_path, other, fork, monkeypatch
):
    """torchrun starts its workers again then, and does not count it as a restart."""
    folder, file = tmp_path / 'run', str(other / 'iter_2.pth')
    for stop in (5, 7):
        process = fork(resumed.train_under_torchrun, folder, stop, file)
        process.join(100)
        assert process.exitcode == 0
    assert 'Advance dataloader 2 steps' in said(folder)
    assert 'Advance dataloader 5 steps' in said(folder)
    for name, value in (('TORCHELASTIC_RUN_ID', 'none'), ('TORCHELASTIC_RESTART_COUNT', '0')):
        monkeypatch.setenv(name, value)
    train(folder, 'iterations', resume=file)  # another torchrun
    assert said(folder).count('Advance dataloader 2 steps') == 2


def test_a_training_that_does_not_resume_writes_over_no_checkpoint(tmp_path, stopped, whole):
    folder = tmp_path / 'run'
    shutil.copytree(stopped, folder)
    (folder / 'best_acc_iter_4.pth').write_bytes(b'best')
    (folder / 'init.pth').write_bytes((folder / 'iter_1.pth').read_bytes())
    before = {file.name: file.read_bytes() for file in folder.glob('*.pth')}
    cfg = Config(dict(model=dict(init_cfg=dict(checkpoint=str(folder / 'iter_2.pth')))))
    train(folder, 'iterations', interval=20, cfg=cfg)
    assert_same(state(folder), state(whole))
    (aside,) = folder.glob('before_*')
    kept = [*aside.iterdir(), *folder.glob('i*.pth')]
    assert {file.name: file.read_bytes() for file in kept}.items() >= before.items()
    assert (aside / 'ssn_ratios.jsonl').exists()
    assert (folder / 'iter_2.pth').exists()  # in use
    assert (folder / 'init.pth').exists()  # no checkpoint of a training
    assert f'They are now in {aside}' in said(folder)


def test_load_from_that_would_be_written_over_is_moved_and_loaded(tmp_path, stopped):
    folder = tmp_path / 'run'
    shutil.copytree(stopped, folder)
    content = (folder / 'iter_3.pth').read_bytes()
    runner = train(folder, 'iterations', load_from=str(folder / 'iter_3.pth'))
    (aside,) = folder.glob('before_*')
    assert runner._load_from == str(aside / 'iter_3.pth')
    assert (aside / 'iter_3.pth').read_bytes() == content
    assert runner.iter == 14


ERRORS = {
    'missing': (lambda file: file.unlink(), FileNotFoundError, r"no checkpoint '.*start\.pth'"),
    'damaged': (lambda file: file.write_bytes(file.read_bytes()[:-9]), ValueError, 'is damaged'),
    'folder': (lambda file: (file.unlink(), file.mkdir()), ValueError, 'is a folder.*--work-dir'),
    'weights': (
        lambda file: torch.save(torch.load(file, weights_only=True)['state_dict'], file),
        ValueError,
        r'start\.pth holds weights and not the state of a training.*use load_from=.*start\.pth',
    ),
}


@pytest.mark.parametrize('fault', ERRORS)
def test_a_file_that_cannot_be_resumed_from_is_named_and_nothing_is_moved(
    tmp_path, stopped, other, fault
):
    folder, file = tmp_path / 'run', tmp_path / 'start.pth'
    shutil.copytree(stopped, folder)
    shutil.copy(other / 'iter_2.pth', file)
    spoil, error, message = ERRORS[fault]
    spoil(file)
    with pytest.raises(error, match=message):
        train(folder, 'iterations', resume=str(file))
    if fault != 'weights':
        assert not list(folder.glob('before_*'))


def test_a_checkpoint_without_its_optimizer_is_warned_of(tmp_path, other):
    file = tmp_path / 'best_acc_iter_2.pth'
    checkpoint = torch.load(other / 'iter_2.pth', weights_only=True)
    del checkpoint['optimizer'], checkpoint['param_schedulers']
    torch.save(checkpoint, file)
    train(tmp_path / 'run', 'iterations', stop=3, resume=str(file))
    assert 'has no optimizer and no param_schedulers, which start again' in said(tmp_path / 'run')


def test_resuming_with_normalizers_in_another_order_is_warned_of(tmp_path, other):
    file = str(other / 'iter_2.pth')
    train(tmp_path / 'same', 'iterations', stop=3, resume=file)
    net = Net(('BN', 'IN', 'LN'), dropout=0.3)
    train(tmp_path / 'run', 'iterations', stop=3, resume=file, model=net)
    told = 'another order, in 2 layers (norm.normalizer_codes'
    assert told in said(tmp_path / 'run')
    assert told not in said(tmp_path / 'same')


class Nothing(Dataset):
    def __len__(self):
        return 0


@pytest.mark.parametrize('loop', ['iterations', 'passes', 'epochs'])
def test_a_training_over_no_samples_is_refused_and_waits_for_none(tmp_path, loop):
    with pytest.raises(ValueError, match='Nothing, the dataset of train_dataloader, has no sample'):
        train(tmp_path / 'run', loop, param_scheduler=None, loader=dict(dataset=Nothing()))


def test_a_batch_larger_than_the_data_is_taken_where_the_sampler_is_endless(tmp_path):
    train(tmp_path / 'run', 'iterations', stop=2, loader=TOO_LARGE)


@pytest.mark.parametrize('place', ["a 'b' c/x.pth", 'start.pth'])
def test_what_is_advised_to_resume_from_is_quoted_for_the_shell(
    tmp_path, monkeypatch, other, place
):
    monkeypatch.chdir(tmp_path)
    Path(place).parent.mkdir(exist_ok=True)
    shutil.copy(other / 'iter_2.pth', place)
    train(tmp_path / 'run', 'iterations', stop=1, resume=True, load_from=place)
    (advice,) = set(re.findall(r'name it: (--resume .*)', said(tmp_path / 'run')))
    assert shlex.split(advice) == ['--resume', place]
    folder = str(Path(tmp_path / place).parent)
    with pytest.raises(ValueError, match='is a folder') as error:
        train(tmp_path / 'other', 'iterations', load_from=folder)
    *_, advice = str(error.value).partition(' with ')
    assert shlex.split(advice) == ['--work-dir', folder, '--resume']


def test_a_finished_training_that_is_resumed_says_that_nothing_is_left(tmp_path, other):
    train(tmp_path / 'run', 'iterations', resume=str(other / 'iter_14.pth'))
    assert 'iter_14.pth is of iteration 14, and the training ends at 14' in said(tmp_path / 'run')


EMPTY = {
    'an epoch without a batch': ('epochs', dict(loader=dict(batch_size=11, drop_last=True))),
    'iterations without a batch': ('passes', dict(loader=dict(batch_size=11, drop_last=True))),
    'no epoch': ('epochs', dict(train_cfg=dict(by_epoch=True, max_epochs=0))),
    'no iteration': ('iterations', dict(train_cfg=dict(by_epoch=False, max_iters=0))),
}


@pytest.mark.parametrize('why', EMPTY)
def test_a_training_of_no_iteration_is_refused_and_none_is_written(tmp_path, why):
    loop, empty = EMPTY[why]
    with pytest.raises(ValueError, match='nothing to train: an epoch of train_dataloader has no'):
        train(tmp_path / 'run', loop, param_scheduler=None, **empty)
    assert not list(tmp_path.rglob('*.pth'))


def test_batches_of_an_endless_sampler_may_be_larger_than_its_dataset(tmp_path):
    loader = dict(batch_size=11, drop_last=True)
    assert train(tmp_path / 'run', 'iterations', loader=loader).iter == 14


@pytest.mark.parametrize('how', ['renamed', 'linked', 'copied'])
def test_a_work_dir_that_was_moved_is_resumed_where_it_is(tmp_path, stopped, whole, how):
    first, folder = tmp_path / 'first', tmp_path / 'run'
    train(first, 'iterations', stop=6)
    if how == 'renamed':
        first.rename(folder)
    elif how == 'linked':
        folder.symlink_to(first)
    else:
        shutil.copytree(first, folder)
        shutil.copy(first / 'iter_2.pth', first / 'iter_6.pth')  # trained on, by itself
    assert Path(last_checkpoint(folder)).name == 'iter_6.pth'
    (folder / 'iter_5.pth').touch()  # the newest by the clock
    train(folder, 'iterations', resume=True)
    assert 'Advance dataloader 6 steps' in said(folder)
    assert_same(state(folder), state(whole))
    assert not list(folder.glob('before_*'))


def test_checkpoints_in_another_folder_and_of_other_names_are_found(tmp_path, whole):
    own = dict(out_dir=str(tmp_path / 'out'), filename_tmpl='step-{}.pth')
    train(tmp_path / 'run', 'iterations', stop=6, checkpoint=own)
    place = tmp_path / 'out/run'
    newest = place / 'step-6.pth'
    newest.write_bytes(newest.read_bytes()[:-9])
    train(tmp_path / 'run', 'iterations', resume=True, checkpoint=own)
    assert 'Advance dataloader 5 steps' in said(tmp_path / 'run')
    assert_same(state(tmp_path / 'run'), state(whole))
    train(tmp_path / 'run', 'iterations', stop=1, checkpoint=own)
    (aside,) = place.glob('before_*')
    assert (aside / 'step-14.pth').exists()
    assert last(tmp_path / 'run')['meta']['iter'] == 1
