import importlib.machinery
import io
import json
import os
import pickle
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from ssn_mm.patches.mmengine import allow_checkpoints

ROOT = Path(__file__).parents[2]
MMACTION_DRN = 'mmaction.models.localizers.drn.drn'


def python(code, path=''):
    """What the code printed last, as JSON, in a fresh interpreter."""
    start = 'import json, sys\nfrom importlib import import_module\n'
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', start + textwrap.dedent(code)],
        env=os.environ | {'PYTHONPATH': f'{path}:{ROOT}'},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def write(root, *files):
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()


def holds(package, pattern):
    return any(Path(find_spec(package).submodule_search_locations[0]).glob(pattern))


# -- needed: the import fails before, and works after ---------------------------------------------


@pytest.fixture(scope='module')
def repaired():
    """Every repair in one interpreter, for the imports take seconds: what was said at each step."""
    for package in ('mmaction', 'mmcv', 'mmpretrain', 'mmseg', 'torchvision'):
        if not find_spec(package):
            pytest.skip(f'{package} is not installed')
    return python("""
        def said(call, *args):
            try:
                call(*args)
            except Exception as error:
                return f'{type(error).__name__}: {error}'.splitlines()[0]

        parts = dict(torchvision='', mmcv='.ops', mmaction='.models.localizers')
        before = {name: said(import_module, name + parts[name]) for name in ('torchvision', 'mmcv')}
        import ssn_mm
        from ssn_mm.patches.importing import _finder

        stand_in = _finder.before.pop('mmaction')  # mmaction imports torchvision first
        before['mmaction'] = said(import_module, 'mmaction.models.localizers')
        for patch in stand_in:
            patch()
        report = {
            name: (before[name], said(import_module, name + part)) for name, part in parts.items()
        }
        for library in ('mmseg', 'mmaction', 'mmpretrain'):
            for part in ('models', 'apis', 'registry'):
                import_module(f'{library}.{part}')
            import_module(f'{library}.utils').register_all_modules()

        import mmcv.ops, torch, torchvision
        from mmaction.models.localizers import DRN
        from mmengine.utils.dl_utils import mmcv_full_available

        boxes = torch.rand(3, 4), torch.rand(3), 0.5
        report |= {
            'nms': said(torchvision.ops.nms, *boxes),
            'bare nms': said(torch.ops.torchvision.nms, *boxes),
            'full': [mmcv_full_available(), 'mmcv._ext' in sys.modules],
            'op': said(mmcv.ops.sigmoid_focal_loss, torch.rand(2, 3), torch.tensor([0, 1])),
            'DRN': said(DRN),
        }
        print(json.dumps(report))
    """)


def test_every_library_imports_and_registers_once_ssn_mm_is_imported(repaired):
    for package in ('torchvision', 'mmcv', 'mmaction'):
        assert repaired[package][1] is None


def test_torchvision_imports_without_its_extension_and_its_nms_raises(repaired):
    before, _ = repaired['torchvision']
    if before is None:
        pytest.skip("torchvision's extension loads beside this torch")
    assert before == 'RuntimeError: operator torchvision::nms does not exist'
    assert repaired['nms'].startswith("RuntimeError: Couldn't load custom C++ ops")
    assert repaired['bare nms'].startswith("NotImplementedError: Could not run 'torchvision::nms'")


def test_mmcv_ops_import_under_mmcv_lite_and_raise_when_called_and_mmcv_stays_lite(repaired):
    before, _ = repaired['mmcv']
    if holds('mmcv', '_ext*'):
        pytest.skip('the full mmcv is installed')
    assert before == "ModuleNotFoundError: No module named 'mmcv._ext'"
    assert repaired['full'] == [False, False]
    message = "RuntimeError: mmcv-lite lacks the op 'sigmoid_focal_loss_forward': install full mmcv"
    assert repaired['op'].startswith(message)


def test_mmaction_imports_without_drn_which_raises_when_constructed(repaired):
    before, _ = repaired['mmaction']
    if holds('mmaction', 'models/localizers/drn'):
        pytest.skip('this mmaction2 has DRN')
    assert before == "ModuleNotFoundError: No module named 'mmaction.models.localizers.drn'"
    assert repaired['DRN'].startswith('ImportError: the wheel of mmaction2 lacks DRN')


# -- not needed: nothing is touched ---------------------------------------------------------------


def test_full_mmcv_and_a_whole_mmaction_are_left_alone(tmp_path):
    write(tmp_path, 'mmcv/__init__.py', 'mmcv/_ext.py', 'mmcv/utils/__init__.py')
    write(tmp_path, 'mmcv/utils/ext_loader.py', 'mmaction/__init__.py')
    write(tmp_path, 'mmaction/models/localizers/drn/drn.py')
    seen = python(
        f"""
        import ssn_mm
        own = [name for name in sys.modules if name.startswith(('mmcv', 'mmaction'))]
        import mmaction, mmcv.utils.ext_loader
        loader = hasattr(mmcv.utils.ext_loader, 'load_ext')
        print(json.dumps([own, {MMACTION_DRN!r} in sys.modules, loader]))
        """,
        tmp_path,
    )
    assert seen == [[], False, False]


def test_a_torchvision_whose_extension_loads_is_left_alone(tmp_path):
    write(tmp_path, 'torchvision/__init__.py')
    suffix = importlib.machinery.EXTENSION_SUFFIXES[-1]
    (tmp_path / f'torchvision/_C{suffix}').symlink_to(torch._C.__file__)
    seen = python(
        """
        import torch, ssn_mm
        from ssn_mm.patches.torchvision import define_nms
        done = ['torchvision' in sys.modules, define_nms()]
        import torchvision
        print(json.dumps([*done, hasattr(torch.ops.torchvision, 'nms')]))
        """,
        tmp_path,
    )
    assert seen == [False, False, False]


def test_torchvision_is_repaired_without_openmmlab():
    seen = python("""
        import importlib.util as u
        find, hidden = u.find_spec, ('mmengine', 'mmcv', 'mmseg', 'mmaction', 'mmpretrain')
        u.find_spec = lambda n, *a: None if n.partition('.')[0] in hidden else find(n, *a)
        import ssn_mm
        import torchvision
        print(json.dumps([name for name in hidden if name in sys.modules]))
    """)
    assert seen == []


def test_ops_that_are_defined_already_are_left_alone():
    assert not python("""
        import torch
        library = torch.library.Library('torchvision', 'DEF')
        for op in ('nms', 'qnms'):
            library.define(f'{op}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
        from ssn_mm.patches.torchvision import define_nms
        print(json.dumps(define_nms()))
    """)


# -- checkpoints ----------------------------------------------------------------------------------


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
