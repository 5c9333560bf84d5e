"""Checkpoints of mmengine's Runner, which PyTorch reads as weights only, and no code."""

import io
import os
import pickle

import numpy as np
import pytest
import torch

from ssn_mm.patches.mmengine import allow_checkpoints


@pytest.fixture
def no_safe_globals():
    before = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    yield
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(before)


@pytest.fixture
def allowed(no_safe_globals):
    allow_checkpoints(pytest.importorskip('mmengine.logging'))


class Reduced:
    """Pickles as whatever call, and state, it is given."""

    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


def saved(value, **kwargs):
    buffer = io.BytesIO()
    torch.save(value, buffer, **kwargs)
    return buffer.getvalue()


def loaded(data):
    return torch.load(io.BytesIO(data))  # as mmengine calls it


def trained(work_dir, by_epoch, passes, resume=False):
    """A Runner after its training of 4 iterations a pass, with averaged weights and best scores."""
    from mmengine.evaluator import BaseMetric
    from mmengine.model import BaseModel
    from mmengine.runner import Runner

    class Model(BaseModel):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)

        def forward(self, x, mode):
            return {'loss': self.layer(x).square().mean()} if mode == 'loss' else list(x)

    class Metric(BaseMetric):
        def process(self, batch, outputs):
            self.results += outputs

        def compute_metrics(self, results):
            return {'double': np.float64(0.5), 'single': np.float32(0.5), 'count': np.int64(1)}

    pace = {'by_epoch': by_epoch}
    end = {'max_epochs': passes} if by_epoch else {'max_iters': 4 * passes, 'val_interval': 4}
    data = {'dataset': [{'x': torch.ones(2)}] * 8, 'batch_size': 2}
    data |= {'collate_fn': {'type': 'default_collate'}, 'sampler': {'type': 'DefaultSampler'}}
    save = {'type': 'CheckpointHook', 'interval': 1 if by_epoch else 4, 'rule': 'greater'}
    runner = Runner(
        Model(),
        work_dir=str(work_dir),
        experiment_name=f'{work_dir.parent.name}-{work_dir.name}-{passes}',
        train_dataloader=data if by_epoch else data | {'sampler': {'type': 'InfiniteSampler'}},
        train_cfg=pace | end,
        optim_wrapper={'optimizer': {'type': 'AdamW', 'lr': 0.1}},
        param_scheduler=[pace | {'type': 'PolyLR'}, pace | {'type': 'LinearLR'}],
        val_dataloader=data,
        val_cfg={},
        val_evaluator=[Metric()],
        default_hooks={'checkpoint': save | pace | {'save_best': ['double', 'single', 'count']}},
        custom_hooks=[{'type': 'EMAHook'}],
        log_processor=pace,
        log_level='ERROR',
        resume=resume,
    )
    runner.train()
    return runner


@pytest.mark.parametrize('by_epoch', [True, False], ids=['epochs', 'iterations'])
def test_a_run_resumes_its_whole_checkpoint_only_once_allowed(tmp_path, no_safe_globals, by_epoch):
    logging = pytest.importorskip('mmengine.logging')
    trained(tmp_path, by_epoch, 1)
    with pytest.raises(pickle.UnpicklingError, match='Weights only'):
        trained(tmp_path, by_epoch, 2, resume=True)
    allow_checkpoints(logging)
    runner = trained(tmp_path, by_epoch, 2, resume=True)
    assert runner.iter == 8
    assert len(runner.message_hub.get_scalar('train/loss').data[0]) == 8
    assert runner.message_hub.get_info('best_score_double') == 0.5


@pytest.mark.parametrize('kind', ['float64', 'float32', 'int64', 'int32'])
def test_numbers_of_numpy_load_under_the_names_of_numpy_1_and_2(allowed, kind):
    value = [np.arange(3).astype(kind), np.dtype(kind).type(7)]
    data = saved(value, _use_new_zipfile_serialization=False)  # plain pickles, no checksums
    data = data.replace(b'numpy._core.', b'numpy.core.')
    assert data.count(b'numpy.core.') == 2
    for name in (b'numpy.core.', b'numpy._core.'):
        array, scalar = loaded(data.replace(b'numpy.core.', name))
        assert array.dtype == scalar.dtype == np.dtype(kind)
        assert (array.tolist(), scalar) == ([0, 1, 2], 7)


def test_a_history_keeps_its_statistics(allowed):
    from mmengine.logging import HistoryBuffer

    history = loaded(saved(HistoryBuffer([1.0, 3.0], [1, 1])))
    statistics = [history.statistics(name) for name in ('min', 'max', 'mean', 'current')]
    assert statistics == [1, 3, 2, 3]
    assert HistoryBuffer._statistics_methods['mean'] is HistoryBuffer.mean


@pytest.mark.parametrize('within_history', [False, True])
@pytest.mark.parametrize('call', [os.system, eval, exec, pickle.loads])
def test_a_checkpoint_cannot_run_its_code(allowed, tmp_path, call, within_history):
    from mmengine.logging import HistoryBuffer

    target = tmp_path / 'ran'
    code = f'open({str(target)!r}, "w").close()'
    pickled = pickle.dumps(Reduced(eval, (code,)))
    bomb = Reduced(call, ({os.system: f'touch {target}', pickle.loads: pickled}.get(call, code),))
    history = HistoryBuffer([1.0], [1])
    history._log_history = bomb
    data = saved({'message_hub': history} if within_history else {'meta': bomb})
    with pytest.raises(pickle.UnpicklingError):
        loaded(data)
    assert not target.exists()
    torch.load(io.BytesIO(data), weights_only=False)
    assert target.exists(), 'the bomb is a dud'


def test_getattr_in_a_checkpoint_reaches_the_statistics_and_nothing_else(allowed):
    from mmengine.logging import HistoryBuffer

    assert loaded(saved(Reduced(getattr, (HistoryBuffer, 'max')))) is HistoryBuffer.max
    for owner, name in ((HistoryBuffer, '__init__'), (HistoryBuffer.max, '__globals__')):
        with pytest.raises(pickle.UnpicklingError, match=f"statistics, got '{name}'"):
            loaded(saved(Reduced(getattr, (owner, name))))


def test_a_dtype_in_a_checkpoint_cannot_declare_numbers_to_be_objects(allowed):
    forged = (3, '<', None, None, None, -1, -1, 63)  # 63: every flag of object arrays
    state = Reduced(np.dtype, ('f8', False, True), forged)
    assert loaded(saved(state)) == np.dtype('f8')
    assert not loaded(saved(state)).hasobject
    for code in ('O', [('field', 'O')], 'V8'):
        with pytest.raises(pickle.UnpicklingError, match='expected a number'):
            loaded(saved(Reduced(np.dtype, (code,))))


def test_a_file_from_the_web_is_read_in_full_where_it_is_trusted(tmp_path, monkeypatch):
    from mmengine.runner import checkpoint

    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    torch.save({'meta': slice(1, 2), 'more': Reduced(complex, (1, 2))}, tmp_path / 'file.pth')
    read = checkpoint.load_from_http('http://localhost/file.pth', model_dir=str(tmp_path))
    assert read['more'] == 1 + 2j
