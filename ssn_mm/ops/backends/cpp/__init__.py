"""Passes over the map and the small stage in C++, built once where a compiler is at hand.

The first use compiles in seconds into the user's cache (``$XDG_CACHE_HOME/ssn_mm``); a library
there is used again. It calls PyTorch's own OpenMP threads and needs neither PyTorch's nor Python's
headers.
"""

import ctypes
import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from ..update import Update

_DTYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}
_KINDS = {'IN': 1, 'LN': 2, 'BN': 3, 'GN': 4}
_SOURCES = {'ratios': 0, 'logits': 1, 'chosen': 2}
_FLAGS = [
    '-O3',
    '-std=c++17',
    '-fPIC',
    '-fopenmp',
    '-fvisibility=hidden',
    '-fno-math-errno',
    '-ffp-contract=fast',
]
_ONE_THREAD = 1 << 14  # elements of a map that a second thread would not be worth waking for
_MARCH = {'AVX2': ['-march=x86-64-v3'], 'AVX512': ['-march=x86-64-v4']}

_int, _long, _double = ctypes.c_int, ctypes.c_int64, ctypes.c_double
_pointer = ctypes.c_void_p
_MAP = [_int, _long, _long, _long, _int, _int]
_SIGNATURES = {
    'ssn_moments': [*_MAP, *[_pointer] * 3],
    'ssn_affine': [*_MAP, *[_pointer] * 5],
    'ssn_sums': [*_MAP, *[_pointer] * 5],
    'ssn_affine_grad': [*_MAP, *[_pointer] * 7],
    'ssn_forward': [*_MAP, _long, _int, _int, _double, _int, *[_double] * 2, *[_pointer] * 12],
    'ssn_backward': [*_MAP, _long, _int, _int, _int, *[_pointer] * 11],
    'ssn_sparsestmax': [_int, _long, _int, *[_pointer] * 2, _int, *[_pointer] * 2],
    'ssn_sparsestmax_backward': [_int, _long, _int, *[_pointer] * 5],
}


def is_available() -> bool:
    """Whether the library is there or could be built; the first call tries."""
    return not why_not()


@cache
def why_not() -> str:
    """What prevented the library from being built; '' if nothing did."""
    try:
        _library()
    except (OSError, subprocess.SubprocessError) as error:
        reason = f'{error} {getattr(error, "stderr", None) or ""}'.strip()
        logging.getLogger('ssn_mm').info('no C++ kernels, using ATen: %s', reason)
        return reason
    return ''


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(_build()))
    for name, arguments in _SIGNATURES.items():
        function = getattr(library, name)
        function.argtypes = arguments
        function.restype = ctypes.c_bool
    return library


def _build() -> Path:
    """Compiles unless this source was compiled for this machine before; returns the library."""
    sources = sorted(p for p in Path(__file__).parent.iterdir() if p.suffix in ('.cpp', '.h'))
    compiler = shutil.which(os.environ.get('CXX', 'c++'))
    flags = [*_FLAGS, *_MARCH.get(torch.backends.cpu.get_cpu_capability(), [])]
    digest = hashlib.sha256(' '.join([str(compiler), torch.__version__, *flags]).encode())
    for source in sources:
        digest.update(source.read_bytes())
    folder = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'ssn_mm'
    library = folder / f'switch_norm-{digest.hexdigest()[:16]}.so'
    if library.is_file():
        return library
    if compiler is None:
        raise FileNotFoundError('no C++ compiler (c++, or what CXX names) was found')
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        # compiled with OpenMP but linked without: its symbols are those of PyTorch's library,
        # a second one would start threads of its own
        unit, built = Path(scratch) / 'unit.o', Path(scratch) / 'library.so'
        (main,) = (s for s in sources if s.suffix == '.cpp')
        _run([compiler, *flags, '-c', str(main), '-o', str(unit)])
        _run([compiler, '-shared', str(unit), '-o', str(built)])
        built.replace(library)  # whole or not at all, also when processes build at once
    return library


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)


def supports(dtype: torch.dtype) -> bool:
    """Whether the compiler knew the type of map; old ones lack half precision."""
    return _library().ssn_moments(_DTYPES[dtype], 0, 0, 0, 0, 1, None, None, None)


def is_faster_in_torch(name: str, x: Tensor) -> bool:
    """Whether torch's own layer beats these kernels where ``name`` alone is computed.

    Group norm keeps a contiguous group in the cache between its passes.
    """
    return name != 'BN' and x.is_contiguous()


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance, (N, C), of a map (N, C, *spatial), contiguous or channels last."""
    mean = x.new_empty(x.shape[:2], dtype=torch.promote_types(x.dtype, torch.float32))
    var = torch.empty_like(mean)
    _call('ssn_moments', x, *_addresses(x, mean, var))
    return mean, var


def affine(x: Tensor, shift: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    """scale * (x - shift) + bias with (N, C) shift and scale, (C,) bias; a new map like ``x``."""
    y = torch.empty_like(x)
    _call('ssn_affine', x, *_addresses(x, shift, scale, bias, y))
    return y


def sums(dy: Tensor, x: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Σdy and Σdy·(x - shift) over each instance, (N, C)."""
    total, dot = torch.empty_like(shift), torch.empty_like(shift)
    _call('ssn_sums', x, *_addresses(dy, x, shift, total, dot))
    return total, dot


def affine_grad(
    dy: Tensor, x: Tensor, shift: Tensor, scale: Tensor, slope: Tensor, offset: Tensor
) -> Tensor:
    """scale * dy + slope * (x - shift) + offset, factors (N, C); a new map like ``x``."""
    dx = torch.empty_like(x)
    _call('ssn_affine_grad', x, *_addresses(dy, x, shift, scale, slope, offset, dx))
    return dx


def forward(
    x: Tensor,
    logits: Tensor,
    radius: Tensor | None,
    source: str,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    normalizers: str,
    eps: float,
    num_groups: int,
    update: Update | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The operator's forward pass: y, ratios, state and batch as ``fused`` has them."""
    (n, c), dtype = x.shape[:2], logits.dtype
    groups, kinds, k = _recipe(normalizers, num_groups)
    y, ratios = torch.empty_like(x), torch.empty((2, k), dtype=dtype)
    state = torch.empty(5 * n * c + 5, dtype=dtype)
    updated: tuple[Tensor | None, Tensor | None] = None, None
    momentum = 0.0
    if update is not None and _takes(update, dtype):
        updated = update.running_mean, update.running_var
        momentum, update.done = float(update.momentum), True
        torch.autograd.graph.increment_version(updated)  # who saved them must notice
    measures = 'BN' in normalizers and running_mean is None and updated[0] is None
    batch = torch.empty((2, c if measures else 0), dtype=dtype)
    _call(
        'ssn_forward',
        x,
        *(groups, kinds, k, eps, _SOURCES[source]),
        *(0.0 if radius is None else float(radius), momentum),
        *_addresses(x, logits, weight, bias, running_mean, running_var, *updated),
        *_addresses(ratios, state, batch if measures else None, y),
    )
    return y, ratios, state, batch


def backward(
    dy: Tensor,
    x: Tensor,
    logits: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    ratios: Tensor,
    state: Tensor,
    source: str,
    normalizers: str,
    num_groups: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The operator's backward pass: the gradients for x, logits (2, K), γ and β (C,)."""
    c, dtype = x.size(1), logits.dtype
    dx, dlogits = torch.empty_like(x), torch.empty_like(logits)
    dweight, dbias = torch.empty(c, dtype=dtype), torch.empty(c, dtype=dtype)
    if source == 'chosen':
        dlogits.zero_()
    _call(
        'ssn_backward',
        x,
        *(*_recipe(normalizers, num_groups), _SOURCES[source]),
        *_addresses(dy, x, logits, running_mean, running_var, ratios, state),
        *_addresses(dlogits, dweight, dbias, dx),
    )
    return dx, dlogits, dweight, dbias


def sparsestmax(z: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
    """As ``ops.sparsestmax.solve``; stretch and bend are one tensor, (2, ...).

    Args:
        z: (..., K), float32 or float64, contiguous.
        radius: One number, or (..., 1).
    """
    p, curve = torch.empty_like(z), z.new_empty(2, *z.shape[:-1])
    k, one = z.size(-1), radius.numel() == 1
    if not one:
        radius = radius.expand(*z.shape[:-1], 1).contiguous()
    inputs, outputs = _addresses(z, radius), _addresses(p, curve)
    _library().ssn_sparsestmax(_DTYPES[z.dtype], z.numel() // k, k, *inputs, one, *outputs)
    return p, curve


def sparsestmax_backward(g: Tensor, z: Tensor, p: Tensor, curve: Tensor) -> Tensor:
    """As ``ops.sparsestmax.jacobian_product``, for what :func:`sparsestmax` returned."""
    g, dz, k = g.contiguous(), torch.empty_like(z), z.size(-1)
    addresses = _addresses(g, z, p, curve, dz)
    _library().ssn_sparsestmax_backward(_DTYPES[z.dtype], z.numel() // k, k, *addresses)
    return dz


def _call(function: str, x: Tensor, *arguments) -> None:
    n, c = x.shape[:2]
    threads = torch.get_num_threads() if x.numel() > _ONE_THREAD else 1
    done = getattr(_library(), function)(
        *(_DTYPES[x.dtype], n, c, x.numel() // (n * c), not x.is_contiguous(), threads),
        *arguments,
    )
    if not done:
        raise RuntimeError(f'the compiler that built the C++ kernels knows no {x.dtype}')


def _takes(update: Update, dtype: torch.dtype) -> bool:
    mean, var = update.running_mean, update.running_var
    return (
        isinstance(update.momentum, float)
        and mean.dtype is var.dtype is dtype
        and mean.is_contiguous()
        and var.is_contiguous()
    )


@cache
def _recipe(normalizers: str, num_groups: int) -> tuple[int, int, int]:
    names = normalizers.split(',')
    kinds = sum(_KINDS[name] << 4 * i for i, name in enumerate(names))
    return num_groups if 'GN' in names else 1, kinds, len(names)


def _addresses(*tensors: Tensor | None) -> list[int | None]:
    return [None if t is None else t.data_ptr() for t in tensors]
