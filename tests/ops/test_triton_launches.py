"""What the Triton kernels are launched with, and what they are compiled to, without a GPU."""

import itertools
import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from backends import KERNELS
from torch.utils._python_dispatch import TorchDispatchMode

pytest.importorskip('triton')

import triton
import triton.language as tl
from triton_layers import DEVICE, EPS, GROUPS, LAYOUTS, run_layer

from ssn_mm.ops import Logits, Norm, PerChannel
from ssn_mm.ops.backends import fused
from ssn_mm.ops.backends import triton as kernels
from ssn_mm.ops.backends.triton.kernels import _locate, _own


@pytest.mark.parametrize('shape', [(2, 3, 1024, 1024), (2, 1000, 64, 64), (32, 256, 56, 56)])
@pytest.mark.parametrize('layout', LAYOUTS)
def test_a_layer_takes_at_most_four_launches_and_five_back(shape, layout, monkeypatch):
    launched = []
    monkeypatch.setattr(kernels.plans, '_PROGRAMS', 512)
    monkeypatch.setattr(kernels, '_run', lambda kernel, *_, **__: launched.append(kernel))
    x = torch.empty(shape, dtype=torch.bfloat16, device='meta')
    if layout == 'channels last':
        x = x.contiguous(memory_format=torch.channels_last)
    logits, bias = (torch.empty(size, device='meta') for size in ((2, 3), shape[1:2]))
    run_layer(x, x, logits, bias[0], bias, bias, (None, None), ('IN', 'LN', 'BN'))
    back = next(i for i, kernel in enumerate(launched) if kernel is kernels.affine_kernel) + 1
    assert back <= 4
    assert len(launched) - back <= 5
    launched.clear()
    norm = Norm(('IN', 'LN', 'BN'), EPS, GROUPS, source='logits')
    kernels.forward(x, Logits(logits, bias[0]), norm, PerChannel(bias, bias))
    assert len(launched) == back  # nothing besides


class Computed(TorchDispatchMode):
    """Lists PyTorch's operators that launch something on a GPU."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        views = ('view', 'slice', 'select', 'unbind', 'detach', 'new_empty', 'empty_like')
        if name not in (*views, 'promote_types'):
            self.names.append(name)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize('names', ['LN', 'BN,IN'])
def test_a_layer_that_has_selected_launches_kernels_and_nothing_else(names, monkeypatch):
    launched = []
    monkeypatch.setattr(kernels, '_run', lambda kernel, *_, **__: launched.append(kernel))
    x, logits, c = (torch.empty(s, device='meta') for s in ((4, 6, 5, 5), (2, 3), 6))
    with Computed() as computed:
        norm = Norm(tuple(names.split(',')), EPS, GROUPS, source='selected')
        kernels.forward(x, Logits(logits), norm, PerChannel(c, c))
    assert computed.names == []
    assert len(launched) == 3


@pytest.mark.parametrize('n', [70_000, 131_072, 2**26])
def test_what_is_compiled_does_not_grow_with_the_samples(n, monkeypatch):
    """Triton's time to compile does with what one program holds, and 2^20 it refuses."""

    def check(kernel, programs, *_, **constants):
        blocks = [value for name, value in constants.items() if name.startswith('block_')]
        assert math.prod(blocks) <= 4096 * constants.get('block_k', 1), kernel
        assert programs < 2**31

    monkeypatch.setattr(kernels, '_run', check)
    x, c = torch.empty(n, 3, 2, device='meta'), torch.empty(3, device='meta')
    run_layer(x, x, c.new_empty(2, 3), c[0], c, c, (None, None), ('IN', 'LN', 'BN'))


@triton.jit
def last_offsets_kernel(
    out_ptr, rows, area, splits, steps,
    last: tl.constexpr, block_r: tl.constexpr, block_s: tl.constexpr,
):  # fmt: skip
    """Where the programs of a map have their last step, -1 where that is outside."""
    outer, row, _, pixel = _own(rows, splits, steps, last, block_r, block_s)
    pixel += (steps - 1).to(tl.int64) * block_s
    offset, inside = _locate(outer, row, pixel, rows, area, 1, last)
    cell = tl.arange(0, block_r)[:, None] * block_s + tl.arange(0, block_s)[None, :]
    tl.store(out_ptr + tl.program_id(0) * block_r * block_s + cell, tl.where(inside, offset, -1))


@pytest.mark.parametrize(('rows', 'area', 'last'), [(1, 2**32 - 3, 0), (8, 2**31 - 1, 1)])
def test_offsets_in_a_plane_of_more_than_2_to_the_31_elements_do_not_wrap(rows, area, last):
    block_r, block_s, splits = 2, 4, 3
    steps = -(-area // (splits * block_s))
    blocks = -(-rows // block_r)
    out = torch.empty(blocks * splits, block_r, block_s, dtype=torch.int64, device=DEVICE)
    sizes = (rows, area, splits, steps, bool(last), block_r, block_s)
    last_offsets_kernel[(blocks * splits,)](out, *sizes)
    for pid, tile in enumerate(out.tolist()):
        block, split = (pid % blocks, pid // blocks) if last else (pid // splits, pid % splits)
        for i, j in itertools.product(range(block_r), range(block_s)):
            row, pixel = block * block_r + i, (split + 1) * steps * block_s - block_s + j
            offset = pixel * rows + row if last else row * area + pixel
            assert tile[i][j] == (offset if row < rows and pixel < area else -1)


@pytest.mark.parametrize('processors', [80, 132, 160])
@pytest.mark.parametrize(
    'shape', [(129, 16, 56, 56), (3, 1000, 57, 57), (8, 512, 28, 28), (2, 64, 512, 512)]
)
def test_pixels_are_split_until_all_processors_have_work(shape, processors, monkeypatch):
    monkeypatch.setattr(kernels.plans, '_PROGRAMS', 4)
    monkeypatch.setattr(kernels.plans, '_processors', lambda device: processors)
    programs = []
    monkeypatch.setattr(kernels, '_run', lambda kernel, count, *_, **__: programs.append(count))
    for layout in (torch.contiguous_format, torch.channels_last):
        x = torch.empty(shape, device='meta').contiguous(memory_format=layout)
        programs.clear()
        kernels.moments(x)
        assert programs[0] > 2 * processors


def test_splits_follow_the_processors_of_the_maps_own_device(monkeypatch):
    properties = {0: SimpleNamespace(multi_processor_count=132)}
    monkeypatch.setattr(torch.cuda, 'get_device_properties', properties.__getitem__)
    kernels.plans._processors.cache_clear()
    assert kernels.plans._processors(0) == 132
    assert kernels.plans._processors(-1) == 1
    kernels.plans._processors.cache_clear()


@pytest.mark.parametrize('backend', KERNELS)
@pytest.mark.parametrize(
    ('source', 'names'), [('ratios', 'IN,BN'), ('selected', 'LN'), ('selected', 'FBN')]
)
def test_the_saved_state_is_written_to_its_last_number(backend, source, names):
    """The number stored is this process' fraction of BN's elements."""
    x, logits, c = (torch.randn(s, device=DEVICE) for s in ((3, 4, 5), (2, 2), (4,)))
    if backend != 'triton':
        x, logits, c = x.cpu(), logits.cpu(), c.cpu()
    given = (x, logits.softmax(1), c, c, None, c, c**2, source, names, EPS, GROUPS)
    _, _, state, _ = fused._forward(*given, False, backend)
    assert state[-1] == 1


def test_every_kernel_compiles_for_ampere_and_hopper_with_vectors_and_without_spills(tmp_path):
    """Also: no index of a map is computed in 32 bits, which a plane of 2^31 elements wraps."""
    env = os.environ | dict(TRITON_INTERPRET='0', TRITON_CACHE_DIR=str(tmp_path))
    env['PYTHONPATH'] = os.pathsep.join(sys.path)
    script = Path(__file__).parents[1] / 'helpers/compile_triton.py'
    done = subprocess.run(
        [sys.executable, script], env=env, timeout=300, capture_output=True, text=True
    )
    if done.returncode == 77:
        pytest.skip(f'this Triton cannot compile without a GPU: {done.stdout}')
    assert done.returncode == 0, done.stdout + done.stderr
