"""The parts of ``gpu_check.py`` that time competitors, in an order shuffled for each round."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from _gpu_layers import DEVICE, GPU, KINDS, make_layer, name, step_of
from _gpu_rows import NotHere, Rows
from torch import Tensor, nn

from ssn_mm import SSN, keep_selected, set_radius

NETWORKS = ('BN', 'SSN competing', 'SSN selected BN')
DTYPES = (torch.bfloat16, torch.float32, torch.float16)


def measure(
    runs: Mapping[str, Callable[[], object]], rounds: int, calls: int = 5
) -> dict[str, tuple[float, float]]:
    """Times competitors side by side.

    Args:
        runs: The competitors by name, as functions.
        rounds: How often all of them run, each time in another order.
        calls: How often a competitor is called in a row in a round.

    Returns:
        By name, medians of the milliseconds that the CPU takes to issue a call, and that the
        device takes to do it.
    """
    order, times = list(runs), {key: [] for key in runs}  # type: ignore[var-annotated]
    for key in order:
        runs[key](), runs[key]()  # compiles, allocates
    for _ in range(rounds):
        random.shuffle(order)
        for key in order:
            times[key].append(_once(runs[key], calls))
    return {
        key: tuple(sorted(column)[len(column) // 2] for column in zip(*seen, strict=True))
        for key, seen in times.items()
    }  # type: ignore[return-value]


def _once(run: Callable[[], object], calls: int) -> tuple[float, float]:
    if not GPU:
        start = time.perf_counter()
        for _ in range(calls):
            run()
        wall = 1e3 * (time.perf_counter() - start) / calls
        return wall, wall
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start = time.perf_counter()
    first.record()
    for _ in range(calls):
        run()
    last.record()
    host = 1e3 * (time.perf_counter() - start) / calls
    torch.cuda.synchronize()
    return host, first.elapsed_time(last) / calls


# the first three have 2048 < N·C < 8192, where channels last were once not split over programs
MAPS = ((4, 1024, 56, 56), (2, 2048, 56, 56), (8, 512, 28, 28))
MAPS += ((32, 256, 56, 56), (256, 64, 112, 112), (32, 2048, 7, 7))
LAYERS = ((2, 256, 56, 56), (256, 256, 56, 56), (2, 2048, 7, 7), (256, 2048, 7, 7))


def bandwidth(rows: Rows, shapes: Sequence[tuple[int, ...]] = MAPS) -> None:
    """Measures the bytes a second of each pass over a map, relative to a copy of as many bytes."""
    from ssn_mm.ops.backends import triton as kernels

    cases = [(shape, last, dtype) for dtype in DTYPES[:2] for last in (1, 0) for shape in shapes]
    for shape, last, dtype in cases:
        if rows.left() < 8:
            raise NotHere('the time is over')
        memory = torch.channels_last if last else torch.contiguous_format
        x = torch.randn(shape, device=DEVICE).to(dtype).contiguous(memory_format=memory)
        y, out = torch.randn_like(x), torch.empty_like(x)
        a = torch.randn(shape[:2], device=DEVICE)
        runs: dict[str, tuple[int, Callable[[], object]]] = {
            'copy': (2, partial(out.copy_, x)),
            'moments': (1, partial(kernels.moments, x)),
            'affine': (2, partial(kernels.affine, x, a, a, a[0].clone())),
            'sums': (2, partial(kernels.sums, y, x, a)),
            'affine_grad': (3, partial(kernels.affine_grad, y, x, a, a, a, a)),
        }
        found = measure({key: run for key, (_, run) in runs.items()}, rounds=9)
        rates = {key: passes * x.nbytes / found[key][1] / 1e6 for key, (passes, _) in runs.items()}
        layout = 'channels last' if last else 'contiguous'
        for key, rate in rates.items():
            values = dict(gb_per_s=rate, of_copy=rate / rates['copy'])
            rows.write(f'{key} {name(dtype)} {shape} {layout}', None, **values)


def against_batch_norm(rows: Rows, shapes: Sequence[tuple[int, ...]] = LAYERS) -> None:
    """Times the forward and backward pass of layers beside batch norm's."""
    for dtype in DTYPES:
        for last in (True, False):
            for shape in shapes:
                if rows.left() < 8:
                    raise NotHere('the time is over')
                memory = torch.channels_last if last else torch.contiguous_format
                x = torch.randn(shape, device=DEVICE).contiguous(memory_format=memory)
                made = {
                    'BN': nn.BatchNorm2d(shape[1]).to(DEVICE),
                    'GN': nn.GroupNorm(8, shape[1]).to(DEVICE, dtype),
                    **{f'SSN {kind}': make_layer(kind, shape[1]) for kind in KINDS[:1] + KINDS[3:]},
                }
                runs = {key: step_of(layer, x, dtype) for key, layer in made.items()}
                case = f'{name(dtype)} {shape} {"channels last" if last else "contiguous"}'
                _write(rows, case, measure(runs, rounds=7))


def _write(rows: Rows, case: str, found: Mapping[str, tuple[float, float]]) -> None:
    for key, (host, device) in found.items():
        values = dict(host_ms=host, device_ms=device, of_bn=device / found['BN'][1])
        rows.write(f'{key} {case}', None, **values)


class Bottleneck(nn.Module):
    """The residual block of ResNet-50, stride in its 3x3 convolution."""

    def __init__(self, inner: int, width: int, stride: int, norm: Callable[[int], nn.Module]):
        super().__init__()
        self.convs = nn.Sequential(
            *(nn.Conv2d(inner, width, 1, bias=False), norm(width), nn.ReLU()),
            *(nn.Conv2d(width, width, 3, stride, 1, bias=False), norm(width), nn.ReLU()),
            *(nn.Conv2d(width, 4 * width, 1, bias=False), norm(4 * width)),
        )
        self.skip = nn.Sequential()
        if stride > 1 or inner != 4 * width:
            conv = nn.Conv2d(inner, 4 * width, 1, stride, bias=False)
            self.skip = nn.Sequential(conv, norm(4 * width))

    def forward(self, x: Tensor) -> Tensor:
        return (self.convs(x) + self.skip(x)).relu()


def resnet(norm: Callable[[int], nn.Module], width: int = 64, blocks=(3, 4, 6, 3)) -> nn.Module:
    """ResNet-50 with a classifier of 1000 classes."""
    layers = [nn.Conv2d(3, width, 7, 2, 3, bias=False), norm(width), nn.ReLU()]
    layers.append(nn.MaxPool2d(3, 2, 1))
    inner = width
    for stage, count in enumerate(blocks):
        for index in range(count):
            stride = 2 if stage and not index else 1
            layers.append(Bottleneck(inner, width << stage, stride, norm))
            inner = 4 * width << stage
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inner, 1000))


def resnet50(rows: Rows) -> None:
    """Times a training step of ResNet-50 with SSN beside one with batch norm."""
    cases = [(dtype, last, n) for n in (256, 2) for dtype in DTYPES for last in (True, False)]
    for dtype, last, n in cases if GPU else [(torch.float32, True, 2)]:
        if rows.left() < 12:
            raise NotHere('the time is over')
        case = f'{name(dtype)} batch {n} {"channels last" if last else "contiguous"}'
        try:
            runs = {key: _step(key, dtype, last, n) for key in NETWORKS}
            _write(rows, case, measure(runs, rounds=3, calls=2 if GPU else 1))
        except torch.cuda.OutOfMemoryError as error:
            rows.write(case, None, str(error)[:200])
        if GPU:
            torch.cuda.empty_cache()


def _step(kind: str, dtype: torch.dtype, last: bool, n: int) -> Callable[[], object]:
    options = {} if GPU else dict(width=8, blocks=(1, 1, 1, 1))
    net = resnet(nn.BatchNorm2d if kind == 'BN' else SSN, **options)
    if kind == 'SSN selected BN':
        with torch.no_grad():
            for layer in net.modules():
                if isinstance(layer, SSN):
                    layer.ratio_logits.copy_(torch.tensor([0.0, 0.0, 1.0]).expand(2, 3))
    set_radius(net, 0.3 if kind == 'SSN competing' else 1.0)
    memory = torch.channels_last if last else torch.contiguous_format
    net = net.to(DEVICE, memory_format=memory)
    size = 224 if GPU else 32
    x = torch.randn(n, 3, size, size, device=DEVICE).contiguous(memory_format=memory)
    labels = torch.randint(1000, (n,), device=DEVICE)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9)

    def step() -> None:
        with torch.autocast(DEVICE, dtype, enabled=dtype is not torch.float32):
            loss = nn.functional.cross_entropy(net(x), labels)
        loss.backward()
        optimizer.step()
        keep_selected(net)
        optimizer.zero_grad()

    return step
