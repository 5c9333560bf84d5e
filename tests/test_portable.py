"""What differs on Windows and macOS, imitated here: no test runs there."""

import ast
import importlib.util
import io
import locale
import os
import shutil
import subprocess
import sys
from multiprocessing import get_context
from pathlib import Path, PurePath, PureWindowsPath
from types import SimpleNamespace

import cv2
import demos
import numpy as np
import pytest
import torch
import torch.distributed as dist
from conftest import ROOT
from torch import nn

from ssn_mm import SSN, commands, files
from ssn_mm.apis.decoding import decode_apart
from ssn_mm.apis.inputs import find_sources
from ssn_mm.cli import train
from ssn_mm.cli.config import load_config
from ssn_mm.cli.tool import run_tool
from ssn_mm.config_files import files_of
from ssn_mm.datasets import pool
from ssn_mm.datasets.check import preflight
from ssn_mm.datasets.check.checks import check
from ssn_mm.datasets.digits.writing import write_once
from ssn_mm.datasets.pipelines import Preparation
from ssn_mm.deploy import fold
from ssn_mm.engine.recalibration import measure_statistics
from ssn_mm.engine.work_dir import WorkDir, last_checkpoint
from ssn_mm.ops.backends import cpp
from ssn_mm.suites import job
from ssn_mm.suites.provenance import data_digest
from ssn_mm.suites.queue import Machine, Queue
from ssn_mm.suites.suite import read_suite

CONFIGS = ROOT / 'configs/demo'


@pytest.fixture
def system(monkeypatch):
    return lambda name: monkeypatch.setattr(sys, 'platform', name)


@pytest.fixture
def spawning(monkeypatch):
    monkeypatch.setattr(pool, 'CONTEXT', get_context('spawn'))


def _says_encoding(call, place):
    """Whether a call has an encoding, by its name or at a place."""
    return len(call.args) > place or any(word.arg == 'encoding' for word in call.keywords)


def _is_silent_on_encoding(call):
    """Whether a call reads or writes text in the encoding of whoever runs it."""
    name = getattr(call.func, 'attr', getattr(call.func, 'id', ''))
    owner = getattr(getattr(call.func, 'value', None), 'id', '')
    words = {word.arg: getattr(word.value, 'value', None) for word in call.keywords}
    if name in ('read_text', 'write_text'):
        return not _says_encoding(call, name == 'write_text')
    if words.get('text') is True or words.get('universal_newlines') is True:
        return 'encoding' not in words
    if name.endswith('TemporaryFile'):
        mode = words.get('mode', call.args[0].value if call.args else 'w+b')
    elif name == 'open' and owner not in ('Image', 'av', 'os'):
        place = int(isinstance(call.func, ast.Name))
        own = call.args[place] if len(call.args) > place else None
        mode = words.get('mode', getattr(own, 'value', 'r'))
    else:
        return False
    return 'b' not in mode and 'encoding' not in words


def test_text_has_an_encoding_wherever_it_is_read_or_written():
    # ruff's unspecified-encoding sees half of the places, those whose types it can tell
    found = []
    for folder in ('ssn_mm', 'tools', 'configs'):
        for file in (ROOT / folder).rglob('*.py'):
            calls = (n for n in ast.walk(ast.parse(file.read_text('utf-8'))) if hasattr(n, 'func'))
            found += [f'{file}:{call.lineno}' for call in calls if _is_silent_on_encoding(call)]
    assert found == []


@pytest.mark.parametrize('encoding', ['cp1252', 'ascii'])
def test_what_a_pipe_cannot_say_does_not_end_a_tool(monkeypatch, encoding):
    said = io.BytesIO()
    monkeypatch.setattr(sys, 'stdout', io.TextIOWrapper(said, encoding))
    with pytest.raises(SystemExit) as ended:
        run_tool(lambda: print('β → γ', flush=True))
    assert ended.value.code is None
    assert said.getvalue() == b'\\u03b2 \\u2192 \\u03b3\n'


def test_commands_are_quoted_for_the_shells_of_windows(monkeypatch, system):
    monkeypatch.setattr(commands, '_python', lambda: 'python')
    system('win32')
    assert commands.pip_install('ssn-mm[hub]') == 'python -m pip install "ssn-mm[hub]"'
    assert commands.quoted(r'C:\my data\it.pth') == r'"C:\my data\it.pth"'
    assert commands.quoted(r'C:\data\it.pth') == r'C:\data\it.pth'
    assert r'mklink /D D:\ade WHERE_IT_IS' in preflight._steps_to_get(
        preflight.SOURCES[0], r'D:\ade'
    )


def test_python_is_found_in_whatever_case_windows_names_it(monkeypatch):
    monkeypatch.setattr(commands.shutil, 'which', lambda name: sys.executable.upper())
    assert commands._python() == sys.executable
    monkeypatch.setattr(os.path, 'normcase', str.lower)
    assert commands._python() == 'python'


def test_files_of_a_config_are_known_where_paths_begin_with_a_drive(monkeypatch):
    cfg = load_config(str(CONFIGS / 'deeplab_ssn_digits.py'))
    monkeypatch.setattr(os, 'sep', '\\')
    assert str(ROOT / 'configs/_base_/norms/ssn.py') in files_of(cfg)


def test_a_drive_that_is_not_there_is_told(monkeypatch):
    for owner, name in ((os.path, 'lexists'), (Path, 'is_dir'), (Path, 'exists')):
        monkeypatch.setattr(owner, name, lambda path: False)
    with pytest.raises(ValueError, match='is not there, so nothing can be written'):
        files.check_folder('/runs/one')
    assert not files._ignores_case.__wrapped__(Path('/runs/one'))


def test_a_file_that_windows_holds_on_to_is_replaced_a_little_later(tmp_path, monkeypatch, system):
    refusals, own = [1, 2], os.replace

    def replace(source, place):
        if refusals and refusals.pop():
            raise PermissionError(13, 'Access is denied')
        own(source, place)

    monkeypatch.setattr(os, 'replace', replace)
    system('win32')
    files.write_atomically(tmp_path / 'it', b'new')
    assert (tmp_path / 'it').read_bytes() == b'new'
    refusals.append(1)
    system('linux')
    with pytest.raises(PermissionError):
        files.write_atomically(tmp_path / 'it', b'newer')
    refusals += range(1, 99)
    system('win32')
    monkeypatch.setattr(files, '_PATIENCE', 0.1)
    with pytest.raises(PermissionError, match='what was there before is unchanged'):
        files.write_atomically(tmp_path / 'it', b'newer')
    assert [path.name for path in tmp_path.iterdir()] == ['it']


def test_digits_are_written_onto_an_empty_folder_that_windows_does_not_replace(
    tmp_path, monkeypatch
):
    own = os.replace

    def replace(source, place):
        if os.path.isdir(place):
            raise PermissionError(13, 'Access is denied')
        own(source, place)

    monkeypatch.setattr(os, 'replace', replace)
    monkeypatch.setattr(Path, 'replace', replace)
    (tmp_path / 'digits').mkdir()
    write_once(tmp_path / 'digits', dict(seed=0), lambda folder: None)
    assert (tmp_path / 'digits/meta.json').read_bytes() == b'{\n  "seed": 0\n}\n'


def test_a_frame_is_prepared_where_opencv_cannot_write_to_a_folder(monkeypatch):
    preparation = Preparation(load_config(str(CONFIGS / 'resnet_ssn_digits.py')))
    monkeypatch.setattr(cv2, 'imwrite', lambda *args: False)  # of a user called Jürgen
    frame = np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3)
    assert (preparation(frame).loaded == frame).all()


def test_lists_are_compared_with_folders_as_windows_names_them(monkeypatch):
    monkeypatch.setattr(preflight, 'Path', PureWindowsPath)
    assert preflight._is_inside(r'c:\Data\ade\it.png', [r'C:\data\ade'])
    assert not preflight._is_inside(r'C:\data\ade2\it.png', [r'C:\data\ade'])


def test_names_that_differ_in_case_alone_are_not_two_folders_or_files(tmp_path):
    (tmp_path / 'suite.py').write_text(
        "title, seeds, metrics = 'A', [0], ['mIoU']\nconfigs = dict(bn='a.py', BN='a.py')\n"
    )
    (tmp_path / 'a.py').touch()
    with pytest.raises(ValueError, match='would be called BN-seed0, bn-seed0'):
        read_suite(tmp_path / 'suite.py')
    for name in ('A.jpg', 'a.png'):
        (tmp_path / name).touch()
    sources = find_sources([str(tmp_path)], SimpleNamespace(reads='pictures'))
    assert [source.name for source in sources] == ['A', 'a-2']


def test_a_digest_of_data_is_that_of_a_system_that_sorts_by_other_rules(tmp_path, monkeypatch):
    for name in ('a.txt', 'B.txt', 'B/c.txt'):
        (tmp_path / 'data' / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / 'data' / name.replace('B/', 'D/')).parent.mkdir(exist_ok=True)
        (tmp_path / 'data' / name.replace('B/', 'D/')).write_text(name)
    cfg = dict(train_dataloader=dict(dataset=dict(type='A', data_root=str(tmp_path / 'data'))))
    before = data_digest(cfg)
    monkeypatch.setattr(PurePath, '__lt__', lambda a, b: str(a).casefold() < str(b).casefold())
    assert data_digest(cfg) == before


@pytest.mark.parametrize('pointer', [r'C:\Jürgen\iter_8.pth', '/home/Jürgen/iter_8.pth'])
def test_a_work_dir_of_another_system_and_encoding_goes_on(tmp_path, monkeypatch, pointer):
    (tmp_path / 'last_checkpoint').write_bytes(pointer.encode('cp1252'))
    (tmp_path / 'iter_8.pth').touch()
    assert last_checkpoint(tmp_path) == str(tmp_path / 'iter_8.pth')
    monkeypatch.setattr(locale, 'getpreferredencoding', lambda _: 'cp1252')
    WorkDir(tmp_path).point_to('Jürgen/γ.pth')  # as mmengine reads it there
    assert (tmp_path / 'last_checkpoint').read_bytes() == 'Jürgen/?.pth'.encode('cp1252')


def test_suites_are_refused_on_windows_and_memory_is_of_the_systems_unit(
    tmp_path, monkeypatch, system
):
    import resource

    peak = SimpleNamespace(ru_maxrss=2**30)
    monkeypatch.setattr(resource, 'getrusage', lambda who: peak)
    assert job._peak() == 2**20
    system('darwin')
    assert job._peak() == 2**10
    system('win32')
    with pytest.raises(ValueError, match='on Windows use WSL'):
        Queue(None, tmp_path, job.Commands((), ()), Machine())


def test_kernels_are_not_built_where_nobody_tried_and_that_is_told_once(
    tmp_path, monkeypatch, system, caplog
):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.delenv('CXX', raising=False)
    monkeypatch.setattr(shutil, 'which', lambda name: f'/usr/bin/{name}')  # asks Windows itself
    for name in ('darwin', 'win32'):
        caplog.clear()
        system(name)
        assert 'made for Linux' in cpp.why_not_built.__wrapped__()
        assert [record.levelname for record in caplog.records] == ['WARNING']


def test_processes_talk_over_gloo_where_there_is_no_nccl(monkeypatch):
    monkeypatch.setenv('LOCAL_RANK', '0')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    for there, backend in ((True, 'nccl'), (False, 'gloo')):
        monkeypatch.setattr(dist, 'is_nccl_available', lambda there=there: there)
        cfg = load_config(str(CONFIGS / 'deeplab_ssn_digits.py'), launcher='pytorch')
        assert cfg.env_cfg.dist_cfg.backend == backend


def test_float64_is_made_on_the_cpu_for_a_device_that_lacks_it(monkeypatch):
    def networks():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), SSN(4))
        x = torch.randn(2, 3, 8, 8)
        measure_statistics(net, [x], net)
        return fold(net.eval(), x)(x)

    def cpu(t):
        t = own_cpu(t).view_as(t)
        t.on_cpu = True
        return t

    def double(t):
        if not hasattr(t, 'on_cpu'):
            raise TypeError('Cannot convert a MPS Tensor to float64 dtype')
        return own_double(t)

    own_cpu, own_double, expected = torch.Tensor.cpu, torch.Tensor.double, networks()
    monkeypatch.setattr(torch.Tensor, 'is_mps', True)
    monkeypatch.setattr(torch.Tensor, 'cpu', cpu)
    monkeypatch.setattr(torch.Tensor, 'double', double)
    assert torch.equal(networks(), expected)


def test_mixed_precision_is_refused_where_mmengine_trains_on_a_mac(monkeypatch):
    monkeypatch.setattr(train, 'get_device', lambda: 'mps')
    with pytest.raises(ValueError, match='leave --amp out'):
        train._enable_amp(load_config(str(CONFIGS / 'deeplab_ssn_digits.py')), None)


def test_macos_starts_processes_anew(system):
    for name, method in (('darwin', 'spawn'), ('win32', 'spawn'), ('linux', 'fork')):
        system(name)
        spec = importlib.util.spec_from_file_location('pool_there', pool.__file__)
        there = importlib.util.module_from_spec(spec)
        sys.modules['pool_there'] = there
        spec.loader.exec_module(there)
        assert there.CONTEXT.get_start_method() == method
    for name, method in (('darwin', 'spawn'), ('linux', 'fork')):
        system(name)
        cfg = load_config(str(CONFIGS / 'deeplab_ssn_digits.py'))
        assert cfg.env_cfg.mp_cfg.mp_start_method == method


def test_a_process_that_ends_is_seen_though_its_connection_stays_open(monkeypatch):
    kept = []

    class Windows:  # the parent has the handle until the process takes it, which it may not do
        Process = pool.CONTEXT.Process

        def Pipe(self):  # noqa: N802
            ours, theirs = get_context('fork').Pipe()
            kept.append(os.dup(theirs.fileno()))
            return ours, theirs

    monkeypatch.setattr(pool, 'CONTEXT', Windows())
    results = pool.map_in_processes(os._exit, [3], 1, timeout=2)
    assert 'exit code 3' in next(results)[1].reason
    results.close()
    for handle in kept:
        os.close(handle)


@pytest.mark.usefixtures('spawning')
def test_processes_that_are_started_anew_get_what_they_need(tmp_path):
    results = dict(pool.map_in_processes(os._exit, [3], 1))
    assert 'exit code 3' in results[3].reason
    picture = tmp_path / 'it.png'
    cv2.imwrite(str(picture), np.zeros((64, 64, 3), np.uint8))
    preparation = Preparation(load_config(str(CONFIGS / 'resnet_ssn_digits.py')))
    (prepared,) = decode_apart(preparation, [str(picture)])
    assert prepared.loaded.shape == (64, 64, 3)
    options = {
        f'train_dataloader.dataset.{key}': n for key, n in (('num_train', 4), ('num_val', 2))
    }
    options['train_dataloader.dataset.data_root'] = str(tmp_path / 'ade')
    cfg = load_config(str(CONFIGS / 'deeplab_ssn_digits.py'), options=options)
    (split,) = check(cfg, ['train'], workers=1, progress=False)
    assert split.decoded == 4
    assert {fault.kind for fault in split.faults} <= {'absent class'}


@pytest.mark.long
def test_a_training_with_processes_that_are_started_anew(tmp_path):
    more = ('train_cfg.max_iters=2', 'env_cfg.mp_cfg.mp_start_method=spawn')
    more += ('train_dataloader.num_workers=1', 'val_dataloader.num_workers=1')
    options = demos.digits(tmp_path, *more, 'train_cfg.val_interval=2')
    command = demos.train(demos.DEMO, '--work-dir', tmp_path / 'run', *options)
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / 'run/iter_2.pth').is_file()
