"""Pickled data is read as it is, and nothing else runs."""

import collections
import datetime
import io
import os
import pickle
from functools import partial

import numpy as np
import pytest
import torch

from ssn_mm.weights import pickles

DATA = {
    'annotations': [dict(frame_dir='a', label=3, keypoint=np.zeros((1, 2, 3), np.float16))],
    'text': np.array(['a', 'longer']),
    'objects': np.array([None, {'x': 1}], dtype=object),
    'record': np.zeros(2, dtype=[('x', 'f4'), ('y', 'i8')]),
    'order': np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    'scalars': [np.float32(1.5), np.int64(3), np.bool_(True), 1 + 2j],
    'containers': [{1, 2}, frozenset('a'), b'bytes', bytearray(b'x'), range(3), slice(1, 2)],
    'named': [collections.OrderedDict(a=1), collections.defaultdict(list, a=[1])],
    'times': [datetime.datetime(2020, 1, 2), datetime.timedelta(seconds=3)],
    'tensors': [torch.arange(3), torch.ones(2, 2).half(), torch.nn.Parameter(torch.zeros(1))],
    'torch': [torch.Size([1, 2]), torch.float16, torch.device('cpu')],
}


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize('name', DATA)
def test_data_is_read_as_pickle_reads_it(name, protocol):
    data = pickle.dumps(DATA[name], protocol)
    assert repr(pickles.loads(data)) == repr(pickle.loads(data))


def test_data_elements_of_openmmlab_are_read():
    structures = pytest.importorskip('mmengine.structures')
    element = structures.InstanceData(scores=torch.ones(2))
    assert pickles.loads(pickle.dumps([element]))[0].scores.tolist() == [1, 1]


class Reduced:
    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize(
    ('module', 'name'),
    [
        ('mmengine.structures.base_data_element', 'copy'),
        ('mmengine.structures.base_data_element', 'torch.multiprocessing.Process'),
        ('torch', 'hub.sys.modules.Storage'),
        ('numpy.dtypes', 'sys.DType'),
        ('numpy.core.multiarray', 'os._reconstruct'),
        ('builtins', 'object.__subclasses__'),
    ],
)
def test_no_name_leads_on_to_another_module(module, name):
    pytest.importorskip('mmengine')
    data = b'\x80\x04' + b''.join(
        b'\x8c' + bytes([len(text)]) + text.encode() for text in (module, name)
    )
    with pytest.raises(pickle.UnpicklingError, match='holds more than data, GLOBAL'):
        pickles.loads(data + b'\x93.')


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    ('function', 'arguments'),
    [
        (os.system, ('touch {mark}',)),
        (eval, ("open('{mark}', 'w')",)),
        (getattr, (DATA, 'pop')),
        (partial, (os.system, 'touch {mark}')),
        (torch.hub.load, ('a', 'b')),
        (np.load, ('{mark}',)),
        (torch.load, ('{mark}',)),
    ],
)
def test_whatever_calls_a_function_is_refused_and_nothing_runs(
    tmp_path, function, arguments, protocol
):
    mark = tmp_path / 'ran'
    given = tuple(a.format(mark=mark) if isinstance(a, str) else a for a in arguments)
    data = pickle.dumps({'x': Reduced(function, given)}, protocol)
    with pytest.raises(pickle.UnpicklingError, match='holds more than data, GLOBAL'):
        pickles.loads(data)
    assert not mark.exists()


def test_a_bomb_inside_of_a_tensor_is_refused(tmp_path):
    mark = tmp_path / 'ran'
    buffer = io.BytesIO()
    torch.save(Reduced(os.mkdir, (str(mark),)), buffer, _use_new_zipfile_serialization=False)
    inner = Reduced(torch.storage._load_from_bytes, (buffer.getvalue(),))
    with pytest.raises(pickle.UnpicklingError):
        pickles.loads(pickle.dumps(inner))
    assert not mark.exists()


def test_mmengine_and_mmseg_read_by_it_unless_the_file_is_trusted(tmp_path, monkeypatch):
    mmengine = pytest.importorskip('mmengine')
    mmseg = pytest.importorskip('mmseg.utils.io')
    path = tmp_path / 'bomb.pkl'
    path.write_bytes(pickle.dumps(Reduced(os.mkdir, (str(tmp_path / 'ran'),))))
    for read in (partial(mmengine.load, path), partial(mmseg.datafrombytes, path.read_bytes())):
        kwargs = {} if read.func is mmengine.load else {'backend': 'pickle'}
        with pytest.raises(pickle.UnpicklingError):
            read(**kwargs)
    assert not (tmp_path / 'ran').exists()
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    mmengine.load(path)
    assert (tmp_path / 'ran').exists()


def test_yaml_calls_nothing_unless_the_file_is_trusted(tmp_path, monkeypatch):
    mmengine = pytest.importorskip('mmengine')
    yaml = pytest.importorskip('yaml')
    path = tmp_path / 'list.yml'
    path.write_text('a: !!python/tuple [1, 2]')
    assert mmengine.load(path) == {'a': (1, 2)}
    for tag in ('apply:os.mkdir [{mark}]', 'new:os.mkdir [{mark}]'):
        path.write_text(f'a: !!python/object/{tag}'.format(mark=tmp_path / 'ran'))
        with pytest.raises(yaml.YAMLError, match='could not determine a constructor'):
            mmengine.load(path)
        assert not (tmp_path / 'ran').exists()
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    mmengine.load(path)
    assert (tmp_path / 'ran').exists()
