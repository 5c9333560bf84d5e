import pytest
import torch
from mmengine.hooks import Hook
from resumed import LOOPS, assert_same, last, state, train

from ssn_mm.engine.hooks import ReliabilityHook


@pytest.fixture(scope='module')
def wholes(tmp_path_factory):
    """The folder of an uninterrupted training for each loop."""
    folder = tmp_path_factory.mktemp('wholes')
    for loop in LOOPS:
        train(folder / loop, loop)
    return folder


@pytest.mark.parametrize('loop', LOOPS)
def test_a_run_resumed_at_any_iteration_equals_the_uninterrupted_one(tmp_path, wholes, loop, long):
    whole = state(wholes / loop)
    assert len(whole['ema_state_dict']) > 10
    for stop in range(1, 14) if long else (5, 8):
        folder = tmp_path / f'stop{stop}'
        train(folder, loop, stop=stop)
        train(folder, loop, resume=True)  # without the seed, which the checkpoint knows
        assert_same(state(folder), whole, f'stop {stop}')
        ratios = [(f / 'ssn_ratios.jsonl').read_text() for f in (folder, wholes / loop)]
        assert ratios[0] == ratios[1]


@pytest.mark.parametrize('loop', ['iterations', 'epochs'])
def test_the_number_of_workers_changes_nothing_and_resuming_with_workers_is_exact(
    tmp_path, wholes, loop
):
    train(tmp_path / 'parts', loop, stop=6, workers=2)
    train(tmp_path / 'parts', loop, workers=1, resume=True)
    assert_same(state(tmp_path / 'parts'), state(wholes / loop))


def test_a_run_stopped_between_two_steps_of_the_optimizer_keeps_its_gradients(tmp_path):
    train(tmp_path / 'whole', 'iterations', accumulate=4)
    for stop in (6, 8):
        train(tmp_path / f'{stop}', 'iterations', stop=stop, accumulate=4)
        assert ('accumulated_gradients' in last(tmp_path / f'{stop}')) == (stop % 4 != 0)
        train(tmp_path / f'{stop}', 'iterations', accumulate=4, resume=True)
        assert_same(state(tmp_path / f'{stop}'), state(tmp_path / 'whole'))


def test_without_the_hook_resuming_is_not_exact(tmp_path, wholes, monkeypatch):
    """So the tests above are able to fail."""
    for name in ('before_train', 'before_train_iter'):
        monkeypatch.setattr(ReliabilityHook, name, Hook.__dict__[name])
    train(tmp_path / 'parts', 'iterations', stop=6)
    train(tmp_path / 'parts', 'iterations', resume=True)
    folders = (wholes / 'iterations', tmp_path / 'parts')
    assert not torch.equal(*[state(f)['state_dict']['conv.weight'] for f in folders])


@pytest.mark.parametrize('damage', ['cut short', 'empty', 'flipped', 'pointer lost', 'pointer cut'])
def test_a_damaged_checkpoint_is_passed_by_for_the_one_before(tmp_path, wholes, damage):
    folder = tmp_path / 'parts'
    train(folder, 'iterations', stop=9)
    newest = folder / 'iter_9.pth'
    content = bytearray(newest.read_bytes())
    if damage == 'cut short':
        newest.write_bytes(content[: len(content) // 2])
    elif damage == 'empty':
        newest.write_bytes(b'')
    elif damage == 'flipped':
        place = content.find(last(folder)['state_dict']['conv.weight'].numpy().tobytes())
        content[place] ^= 1
        newest.write_bytes(content)
    elif damage == 'pointer lost':
        (folder / 'last_checkpoint').unlink()
    else:
        (folder / 'last_checkpoint').write_text('')
    runner = train(folder, 'iterations', resume=True)
    assert runner.iter == 14
    assert_same(state(folder), state(wholes / 'iterations'))
    intact = 'iter_9' if 'pointer' in damage else 'iter_8'
    log = ''.join(file.read_text() for file in folder.rglob('*.log'))
    assert f'Resuming from {folder / intact}.pth, the newest that is intact' in log
    assert ('iter_9.pth is damaged' in log) == ('pointer' not in damage)


def test_only_damaged_checkpoints_are_an_error(tmp_path):
    train(tmp_path, 'iterations', stop=2)
    for file in tmp_path.glob('iter_*.pth'):
        file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r'all 2 checkpoints in .* are damaged; start again'):
        train(tmp_path, 'iterations', resume=True)
    with pytest.raises(ValueError, match=r'iter_2\.pth is damaged'):
        train(tmp_path, 'iterations', load_from=str(tmp_path / 'iter_2.pth'))


def test_resuming_without_a_checkpoint_begins_at_the_start(tmp_path):
    runner = train(tmp_path, 'iterations', resume=True)
    assert runner.iter == 14


def test_keeping_one_checkpoint_only_is_warned_of(tmp_path):
    train(tmp_path, 'iterations', keep=1, interval=7)
    (log,) = tmp_path.rglob('*.log')
    assert 'max_keep_ckpts=1 removes the last checkpoint before' in log.read_text()


def test_broken_is_one_of_two():
    with pytest.raises(ValueError, match="'stop' or 'skip', got 'ignore'"):
        ReliabilityHook(broken='ignore')
