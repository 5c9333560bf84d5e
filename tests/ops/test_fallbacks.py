"""Kernels that cannot be built, loaded or launched: one warning with the reason, then others."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ssn_mm import SSN
from ssn_mm.ops import Norm, dispatch, switch_norm
from ssn_mm.ops.backends import cpp, cpu, reference
from ssn_mm.ops.switch_norm import implementation

CACHES = (dispatch._kernels, dispatch._warn, dispatch.why_no_triton, cpp.why_not_built)
NORM = Norm(('IN', 'BN'))


@pytest.fixture(autouse=True)
def _look_again():
    for function in CACHES:
        function.cache_clear()
    yield
    for function in CACHES:
        function.cache_clear()


def run(backend, monkeypatch):
    monkeypatch.setenv('SSN_MM_BACKEND', backend)
    torch.manual_seed(0)
    x, dy = torch.randn(2, 2, 6, 5, 4)
    ratios = torch.tensor([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]], requires_grad=True)
    x.requires_grad_()
    y = switch_norm(x, ratios, training=True)
    return y, *torch.autograd.grad(y, (x, ratios), dy)


def compiler(folder, script):
    path = folder / 'c++'
    path.write_text(f'#!/bin/sh\n{script}\n')
    path.chmod(0o755)
    return str(path)


COMPILERS = {  # what is wrong, what a compiler does, what the warning says
    'broken': ('echo cc1plus: cannot execute >&2; exit 1', 'cc1plus: cannot execute'),
    'no OpenMP': ('case "$*" in *-fopenmp*) echo no -fopenmp >&2; exit 1; esac', 'no -fopenmp'),
    'disk full': ('echo no space left on device >&2; exit 1', 'no space left'),
    'output is no library': ('for last; do :; done; echo text > "$last"', 'file too short'),
    'output in another alphabet': ("printf '\\303\\050' >&2; exit 1", '\ufffd('),
}


@pytest.mark.parametrize('wrong', COMPILERS)
def test_a_compiler_that_fails_leaves_pytorchs_operators_and_a_warning(
    wrong, tmp_path, monkeypatch, caplog
):
    script, said = COMPILERS[wrong]
    expected = run('reference', monkeypatch)
    monkeypatch.setenv('CXX', compiler(tmp_path, script))
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    for _ in range(2):
        torch.testing.assert_close(run('', monkeypatch), expected, rtol=1e-5, atol=1e-5)
    warned = [r.getMessage() for r in caplog.records if 'cannot be built or loaded' in r.message]
    assert len(warned) == 1
    assert said in warned[0]
    with pytest.raises(RuntimeError, match=r"'cpp' is not available.*choose cpu"):
        run('cpp', monkeypatch)


def without_compiler(patch, folder):
    patch.setenv('CXX', 'nowhere')
    return (
        "no C++ compiler was found: there is no 'nowhere' on the path, which CXX names. This "
        'installs one: apt-get install g++ (Debian, Ubuntu), dnf install gcc-c++ (Fedora) or conda '
    )


def without_headers(patch, folder):
    patch.setattr(cpp, '_TORCH', folder)
    return f'there is no {folder}/include/torch/library.h. For Debian'


def without_cache(patch, folder):
    (folder / 'cache').write_text('')  # root may write to a folder that is read-only
    patch.setenv('XDG_CACHE_HOME', str(folder / 'cache'))
    return 'Not a directory'


def without_home(patch, folder):
    def fail():
        raise RuntimeError('Could not determine home directory.')

    patch.delenv('XDG_CACHE_HOME', raising=False)
    patch.setattr(Path, 'home', fail)
    return 'home directory'


@pytest.mark.compiler
@pytest.mark.parametrize('lack', [without_compiler, without_headers, without_cache, without_home])
def test_a_machine_that_lacks_something_is_warned_of_what(lack, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    said = lack(monkeypatch, tmp_path)
    assert SSN(6)(torch.randn(2, 6, 4, 4)).isfinite().all()
    (warned,) = (r.getMessage() for r in caplog.records if 'cannot be built' in r.message)
    assert said in warned
    monkeypatch.setenv('SSN_MM_BACKEND', 'cpp')
    with pytest.raises(
        RuntimeError, match=rf"'cpp' is not available.*{re.escape(said)}.*choose cpu"
    ):
        SSN(6)(torch.randn(2, 6, 4, 4))


@pytest.mark.compiler
def test_the_variable_of_the_compiler_may_hold_arguments(tmp_path, monkeypatch):
    library = cpp._build()
    script = f'for last; do :; done; cat {library} > "$last"'
    monkeypatch.setenv('CXX', f'env {compiler(tmp_path, script)}')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    assert cpp._build().read_bytes() == library.read_bytes()


@pytest.mark.compiler
def test_kernels_are_built_without_setuptools(tmp_path, monkeypatch):
    library = cpp._build()
    monkeypatch.delitem(sys.modules, 'torch.utils.cpp_extension', raising=False)
    monkeypatch.delattr(torch.utils, 'cpp_extension', raising=False)
    monkeypatch.setitem(sys.modules, 'setuptools', None)
    monkeypatch.setenv('CXX', compiler(tmp_path, f'for last; do :; done; cat {library} > "$last"'))
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    assert cpp._build().read_bytes() == library.read_bytes()


ERRORS = [
    RuntimeError('Failed to find C compiler. Please specify via CC environment variable.'),
    subprocess.CalledProcessError(1, ['gcc', 'main.c']),
    ImportError('libcuda.so.1: cannot open shared object file'),
    OSError(28, 'No space left on device'),
    PermissionError(13, 'Permission denied', '/root/.triton'),
]


@pytest.fixture
def gpu_tensor(monkeypatch):
    """What dispatch reads of a tensor on a GPU; there is none."""
    module = sys.modules['ssn_mm.ops.switch_norm']  # the function hides it in the package
    monkeypatch.setattr(module, 'is_traced', lambda x: False)
    device = torch.device('cuda', 0)
    return SimpleNamespace(
        dtype=torch.float32, is_cpu=False, is_cuda=True, device=device, numel=lambda: 8, shape=(8,)
    )


@pytest.mark.parametrize('error', ERRORS, ids=lambda e: type(e).__name__)
def test_triton_that_cannot_launch_leaves_the_reference_and_a_warning(
    error, gpu_tensor, monkeypatch, caplog
):
    triton = pytest.importorskip('ssn_mm.ops.backends.triton')

    def fail(*_):
        raise error

    fails = replace(triton.BACKEND, why_not=fail)
    monkeypatch.setattr(triton, 'BACKEND', fails)
    for _ in range(2):
        assert implementation(gpu_tensor, NORM) is reference.switch_norm
    (warned,) = (r.getMessage() for r in caplog.records)
    assert f'cannot launch kernels on cuda:0 for torch.float32 ({type(error).__name__}' in warned
    # a program that was recorded elsewhere holds the operator
    assert dispatch.load_kernels('', gpu_tensor) is cpu.BACKEND
    monkeypatch.setenv('SSN_MM_BACKEND', 'triton')
    with pytest.raises(RuntimeError, match=rf"'triton' is not available.*{type(error).__name__}"):
        implementation(gpu_tensor, NORM)


def test_a_backend_serves_the_devices_and_dtypes_that_its_record_declares(gpu_tensor):
    assert dispatch.load_kernels('cpu', gpu_tensor) is cpu.BACKEND
    with pytest.raises(RuntimeError, match=r"'cpp' is not.*cuda:0 \(it takes maps on cpu"):
        dispatch.load_kernels('cpp', gpu_tensor)
    with pytest.raises(RuntimeError, match=r'maps of torch.float32.*, not torch.complex64\)'):
        dispatch.load_kernels('cpu', torch.ones(1, 2, 3, dtype=torch.complex64))


def test_a_gpu_without_memory_says_nothing_about_triton(gpu_tensor, monkeypatch):
    triton = pytest.importorskip('ssn_mm.ops.backends.triton')

    def fail(*_):
        raise torch.OutOfMemoryError

    fails = replace(triton.BACKEND, why_not=fail)
    monkeypatch.setattr(triton, 'BACKEND', fails)
    with pytest.raises(torch.OutOfMemoryError):
        implementation(gpu_tensor, NORM)
    launches = replace(triton.BACKEND, why_not=lambda *_: '')
    monkeypatch.setattr(triton, 'BACKEND', launches)
    assert implementation(gpu_tensor, NORM) is not reference.switch_norm


def test_triton_that_is_not_installed_leaves_the_reference_and_a_warning(
    gpu_tensor, monkeypatch, caplog
):
    monkeypatch.delitem(sys.modules, 'ssn_mm.ops.backends.triton', raising=False)
    monkeypatch.delitem(sys.modules, 'ssn_mm.ops.backends.triton.kernels', raising=False)
    monkeypatch.setitem(sys.modules, 'triton', None)
    assert implementation(gpu_tensor, NORM) is reference.switch_norm
    (warned,) = (r.getMessage() for r in caplog.records)
    assert 'import of triton halted' in warned


LAUNCH = """
import torch
from ssn_mm.ops.dispatch import load_kernels, why_no_triton
print(why_no_triton(torch.device('cpu'), torch.float32))
load_kernels('triton', torch.ones(1, 2, 3))
"""


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a driver')
def test_triton_without_a_driver_is_named_with_its_own_words(tmp_path):
    pytest.importorskip('triton')
    env = os.environ | dict(TRITON_INTERPRET='0', CC='nowhere', TRITON_CACHE_DIR=str(tmp_path))
    env['PYTHONPATH'] = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, '-c', LAUNCH], env=env, timeout=100, capture_output=True, text=True
    )
    assert done.stdout.strip()
    assert f'cannot run on cpu ({done.stdout.strip()})' in done.stderr


def test_passes_of_a_gpu_without_triton_are_those_of_the_reference(monkeypatch):
    expected = run('reference', monkeypatch)
    monkeypatch.setattr(cpu, '_is_fused', lambda x: False)  # as there
    torch.testing.assert_close(run('cpu', monkeypatch), expected, rtol=1e-5, atol=1e-5)
