"""The parts of ``gpu_check.py`` that pass or fail; each writes rows of what it finds."""

import copy
import datetime
import os
import platform
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from _gpu_layers import (
    DEVICE,
    GPU,
    KINDS,
    batch,
    exact_results,
    make_layer,
    make_net,
    name,
    off,
    results,
    step_of,
    timed,
    train,
)
from _gpu_rows import NotHere, Rows
from torch import Tensor

from ssn_mm import SSN, set_backend, set_radius
from ssn_mm.commands import pip_install

INTERPRETABLE = 'passes or sparsestmax or bit_for_bit'  # tests that are quick in the interpreter
INTERPRETED = not GPU and find_spec('numpy') is not None
ROOT = Path(__file__).resolve().parents[2]
SHAPES = {
    '1x1': (8, 256, 1, 1),
    '7x7': (32, 512, 7, 7),
    '57x57': (4, 64, 57, 57),
    'C=2048': (16, 2048, 7, 7),
    'N=1': (1, 64, 57, 57),
    '5D': (2, 64, 8, 14, 14),
}
SMALL = {'1x1': (4, 16, 1, 1), '3x3': (2, 16, 3, 3), 'N=1': (1, 8, 5, 5), '5D': (2, 8, 2, 3, 3)}
# errors allowed, relative to the largest result: twice the rounding of a map; sums lose more
LIMITS = {torch.float32: 4e-5, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
SUMS_LIMIT = 1e-2


def machine(rows: Rows) -> None:
    """Writes versions and the GPU that the other rows were found with."""
    values: dict[str, Any] = dict(torch=torch.__version__, python=platform.python_version())
    values['triton'] = version('triton') if find_spec('triton') else None
    command = ['git', '-C', str(ROOT), 'rev-parse', '--short', 'HEAD']
    found = subprocess.run(command, capture_output=True, encoding='utf-8', check=False)
    values['commit'] = found.stdout.strip() or None
    values['date'] = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='seconds')
    if not GPU:
        note = 'no GPU here: what Triton can interpret is run, the rest is not'
        rows.write('', None, note, **values)
        return
    for index in range(torch.cuda.device_count()):
        p = torch.cuda.get_device_properties(index)
        values[f'gpu{index}'] = (
            f'{p.name}, sm_{p.major}{p.minor}, {p.multi_processor_count} processors'
        )
    values.update(cuda=torch.version.cuda, cudnn=torch.backends.cudnn.version())
    rows.write('', True, **values)


def compile(rows: Rows) -> None:
    """Times the first step of a layer, with nothing compiled, and a later one."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ['TRITON_CACHE_DIR'] = folder  # read when a kernel is compiled
        for dtype in (torch.bfloat16, torch.float32):
            run = step_of(make_layer('competing', 256), torch.randn(32, 256, 14, 14), dtype)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter('always')
                seconds = [timed(run) for _ in range(3)]
            said = '; '.join(str(warning.message) for warning in caught)  # no Triton, say
            rows.write(name(dtype), not said, said[:500], first=seconds[0], next=seconds[-1])


def tests(rows: Rows) -> None:
    """Runs the tests of the Triton kernels: a row for each that fails, one with their number."""
    if not (GPU or INTERPRETED):
        raise NotHere("Triton's interpreter needs NumPy: not run")
    if not find_spec('pytest'):
        rows.write('', False, f'needs pytest: {pip_install("pytest")}')
        return
    import pytest

    files = [ROOT / 'tests/ops/test_triton.py', ROOT / 'tests/ops/test_switch_norm.py']
    if not files[0].is_file():
        raise NotHere('the tests are not here: run this from a checkout')
    counts: dict[str, int] = {}

    class Watch:
        def pytest_runtest_logreport(self, report) -> None:
            if report.failed:
                rows.write(report.nodeid, False, report.longreprtext[-1500:])
            if report.when == 'call' or report.skipped:
                counts[report.outcome] = counts.get(report.outcome, 0) + 1

        def pytest_collectreport(self, report) -> None:
            if report.failed:
                rows.write(report.nodeid, False, report.longreprtext[-1500:])

    options = ['-p', 'no:cacheprovider', '-p', 'no:terminal', '-W', 'ignore']
    options += ['-k', 'triton' if GPU else INTERPRETABLE]
    code = pytest.main([*options, *map(str, files)], plugins=[Watch()])
    rows.write('', code == 0, f'pytest ended with code {int(code)}', **counts)


def layers(rows: Rows, dtype_name: str) -> None:
    """Compares layers in one precision with the reference in float64."""
    dtype = getattr(torch, dtype_name)
    if not (GPU or INTERPRETED):
        raise NotHere("Triton's interpreter needs NumPy: not run")
    if not GPU and dtype is torch.bfloat16:
        raise NotHere("Triton's interpreter truncates to bfloat16: not run")
    if not GPU:
        set_backend('triton')
    for what, shape in (SHAPES if GPU else SMALL).items():
        kinds = KINDS if what in ('57x57', '3x3') else ('competing',)
        for kind in kinds:
            for x in layouts(torch.randn(shape) + 1):
                compare(rows, kind, what, x.to(DEVICE, dtype))


def huge(rows: Rows) -> None:
    """Tries maps of more than 2^31 elements: a small map repeated, whose results repeat with it."""
    for shape in ((2, 8, 1160, 1160), (1, 1, 4635, 4635)):  # a plane of that size, too
        for last in (False, True):
            needed = 100 * torch.Size(shape).numel() * 2 * 6  # bytes of six half maps
            case = f'{(*shape[:2], shape[2] * 10, shape[3] * 10)}{" channels last" * last}'
            if torch.cuda.mem_get_info()[0] < needed:
                rows.write(case, None, f'needs {needed / 2**30:.0f} GiB')
                continue
            torch.cuda.empty_cache()
            repeated(rows, case, shape, last)


def repeated(rows: Rows, case: str, shape: tuple[int, ...], last: bool) -> None:
    small, dy = (torch.randn(shape, device=DEVICE).half() for _ in range(2))
    layer = make_layer('competing', shape[1])
    want = exact_results(copy.deepcopy(layer).double(), small, dy)
    x, g = (t.repeat(1, 1, 10, 10) for t in (small, dy))
    if last:
        x, g = (t.contiguous(memory_format=torch.channels_last) for t in (x, g))
    got = results(layer, x, g)
    for what, a, b in zip(('y', 'dx'), got, want, strict=False):
        worst = 0.0
        for i in range(0, a.size(2), shape[2]):
            for j in range(0, a.size(3), shape[3]):
                tile = a[:, :, i : i + shape[2], j : j + shape[3]]
                worst = max(worst, off(tile, b))
        limit = LIMITS[torch.half]
        rows.write(f'{case} {what}', worst <= limit, off=worst, limit=limit)
    for what, a, b in zip(('dlogits', 'dweight', 'dbias'), got[2:], want[2:], strict=True):
        wrong = off(a, 100 * b)
        rows.write(f'{case} {what}', wrong <= SUMS_LIMIT, off=wrong, limit=SUMS_LIMIT)


def layouts(x: Tensor) -> Iterator[Tensor]:
    yield x
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    if x.dim() in formats and x[0, 0].numel() > 1:
        yield x.contiguous(memory_format=formats[x.dim()])


def compare(rows: Rows, kind: str, what: str, x: Tensor) -> None:
    layer, dy = make_layer(kind, x.size(1)), torch.randn_like(x)
    exact = copy.deepcopy(layer).double()
    got = [*results(layer, x, dy), layer.running_mean, layer.running_var]
    want = [*exact_results(exact, x, dy), exact.running_mean, exact.running_var]
    names = ('y', 'dx', 'dlogits', 'dweight', 'dbias', 'running mean', 'running var')
    limit = LIMITS[x.dtype]
    allowed = dict(y=limit, dx=limit) | dict.fromkeys(names[2:], SUMS_LIMIT)
    wrong = {n: off(g, w) for n, g, w in zip(names, got, want, strict=True)}
    if kind.startswith('selected'):
        wrong['dlogits'] = got[2].abs().max().item()
    bad = [n for n in names if not wrong[n] <= allowed[n]]
    worst = max(names, key=lambda n: wrong[n] / allowed[n])
    layout = '' if x.is_contiguous() else ' channels last'
    note = f'{", ".join(bad)} beyond what rounding allows' if bad else ''
    rows.write(
        f'{kind} {what} {tuple(x.shape)}{layout}', not bad, note, worst=worst, off=wrong[worst]
    )


def deterministic(rows: Rows) -> None:
    """Trains twice in deterministic mode: PyTorch refuses nothing, both end bit-equal."""
    torch.use_deterministic_algorithms(True)
    x, t = batch()
    for radius in (0.0, 0.3, 1.0):  # competing, pushed, selected
        ends = []
        for _ in range(2):
            net, optimizer = make_net(radius)
            for _ in range(4):
                train(net, optimizer, x, t)
            ends.append([v.clone() for v in net.state_dict().values()])
        equal = all(map(torch.equal, *ends))
        rows.write(f'radius {radius}', equal, '' if equal else 'two trainings end differently')


def sync(rows: Rows) -> None:
    """Takes steps in which it is an error if CPU and GPU wait for each other."""
    x, t = batch()
    for radius in (0.0, 0.3, 1.0):
        net, optimizer = make_net(radius)
        for _ in range(3):
            train(net, optimizer, x, t)  # compiles, allocates
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode('error')
        try:
            for _ in range(3):
                set_radius(net, radius)
                train(net, optimizer, x, t)
            rows.write(f'radius {radius}', True)
        except RuntimeError as error:
            rows.write(f'radius {radius}', False, str(error)[:500])
        finally:
            torch.cuda.set_sync_debug_mode('default')


def graph(rows: Rows) -> None:
    """Checks that a step recorded as a CUDA graph and replayed ends as the step itself."""
    x, t = batch()
    for radius in (0.3, 1.0):
        (net, optimizer), (plain, of_plain) = make_net(radius), make_net(radius)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # as torch.cuda.graph asks for
            for _ in range(3):
                train(net, optimizer, x, t)
        torch.cuda.current_stream().wait_stream(side)
        recorded = torch.cuda.CUDAGraph()
        with torch.cuda.graph(recorded):
            train(net, optimizer, x, t)
        for _ in range(5):
            recorded.replay()
        for _ in range(8):
            train(plain, of_plain, x, t)
        pairs = zip(net.state_dict().values(), plain.state_dict().values(), strict=True)
        worst = max(off(a.double(), b.double()) for a, b in pairs)
        rows.write(f'radius {radius}', worst < 1e-4, off=worst, limit=1e-4)


def torch_compile(rows: Rows) -> None:
    """Checks that a compiled network trains as one that is not."""
    x, t = batch()
    for mode in ('default', *(['reduce-overhead'] if GPU else [])):
        (net, optimizer), (plain, of_plain) = make_net(), make_net()
        compiled = torch.compile(net, mode=mode, backend='inductor' if GPU else 'aot_eager')
        seconds = timed(lambda: train(compiled, optimizer, x, t))  # noqa: B023
        train(plain, of_plain, x, t)
        for _ in range(4):
            ours, theirs = train(compiled, optimizer, x, t), train(plain, of_plain, x, t)
        wrong = abs(ours - theirs).item() / theirs.item()
        rows.write(mode, wrong < 1e-3, off=wrong, limit=1e-3, first=seconds)


def two_gpus(rows: Rows) -> None:
    """Trains a model on the second GPU; compares SyncSSN of two processes with SSN of one."""
    if torch.cuda.device_count() < 2:
        raise NotHere(f'needs two GPUs, here {torch.cuda.device_count()}')
    x, t = batch()
    net, optimizer = make_net(1.0)
    net, x, t = net.to('cuda:1'), x.to('cuda:1'), t.to('cuda:1')  # the current one stays cuda:0
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for _ in range(4):
        loss = train(net, optimizer, x, t)
    rows.write('a model on cuda:1', bool(loss.isfinite()), selected=str(net.norms[0].selected))
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(_joint, (f'{folder}/store', rows), nprocs=2)


def _joint(rank: int, store: str, rows: Rows) -> None:
    import torch.distributed as dist

    torch.cuda.set_device(rank)
    dist.init_process_group('nccl', init_method=f'file://{store}', rank=rank, world_size=2)
    torch.manual_seed(0)
    x, dy = torch.randn(2, 16, 64, 14, 14, device='cuda')
    layer = SSN(64, sync=True).cuda()
    whole = SSN(64).cuda()
    set_radius(layer, 0.3), set_radius(whole, 0.3)
    mine = slice(8 * rank, 8 * rank + 8)
    got, want = results(layer, x[mine], dy[mine]), results(whole, x, dy)
    wrong = max(off(got[i].double(), want[i][mine].double()) for i in (0, 1))
    rows.write(f'SyncSSN, process {rank}', wrong < 1e-4, off=wrong, limit=1e-4)
    dist.destroy_process_group()


if __name__ == '__main__':
    sys.exit('run gpu_check.py')
