"""The backend ``cpp``: passes over the map, mixing and the graph's node in C++.

The first use compiles for about half a minute into the user's cache (``$XDG_CACHE_HOME/ssn_mm``); a
library there is used again. It runs on PyTorch's own OpenMP threads.

``torch.utils.cpp_extension.load`` would build it, too. It needs setuptools and ninja, which PyTorch
does not always install, and waits for ever for the lock of a process that was killed while it
built. Here a library is named after all that it depends on and put in place as a whole, so no lock
is needed.
"""

import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from ...norm import Logits, Norm, PerChannel
from ...projection import RADIUS_SLACK, TIE_DISTANCE
from ..record import FLOATS, Backend
from .keep_selected import fill, keep_selected
from .layer_call import layer_call, switch_norm

_FLAGS = [
    '-O3',
    '-std=c++20',
    '-fPIC',
    '-fopenmp',
    '-fvisibility=hidden',
    '-fno-math-errno',
    '-ffp-contract=fast',
    f'-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}',
    f'-DSSN_TIE_DISTANCE={TIE_DISTANCE!r}',
    f'-DSSN_RADIUS_SLACK={RADIUS_SLACK!r}',
]
_MARCH = {'AVX2': ['-march=x86-64-v3'], 'AVX512': ['-march=x86-64-v4']}
_TORCH = Path(torch.__file__).parent
_GET_COMPILER = (
    'apt-get install g++ (Debian, Ubuntu), dnf install gcc-c++ (Fedora) or conda install -c '
    'conda-forge cxx-compiler'
)
_LOG = logging.getLogger('ssn_mm')


class _NotBuiltError(Exception):
    """Something that building needs is missing or fails, told with what mends it."""


def why_not(device: torch.device, dtype: torch.dtype) -> str:
    """What keeps the kernels from this type of map; '' if nothing does. The first call builds."""
    reason = why_not_built()
    if reason:
        return f'its kernels could not be built: {reason}'
    known = torch.ops.ssn_mm_cpp.supports(dtype)  # old compilers lack half precision
    return '' if known else f'the compiler that built its kernels knows no {dtype}'


@cache
def why_not_built() -> str:
    """What prevented the library from being built; '' if nothing did."""
    try:
        torch.ops.load_library(_build())
    except Exception as error:  # compiler, linker, loader and file system fail in their own ways
        told = f'{type(error).__name__}: {error} {error.__cause__ or ""}'
        reason = (str(error) if isinstance(error, _NotBuiltError) else told).strip()[:1000]
        _LOG.warning(
            "the C++ kernels of ssn_mm cannot be built or loaded, PyTorch's own take their place, "
            'which is slower: %s',
            reason,
        )
        return reason
    return ''


def _build() -> Path:
    """Compiles unless this source was compiled for this machine before; returns the library."""
    sources = sorted(p for p in Path(__file__).parent.iterdir() if p.suffix in ('.cpp', '.h'))
    wanted = shlex.split(os.environ.get('CXX') or 'c++')  # may be 'ccache g++'
    compiler = shutil.which(wanted[0])
    flags = [*_FLAGS, *_MARCH.get(torch.backends.cpu.get_cpu_capability(), [])]
    torch_build = (torch.__version__, str(torch.version.git_version), platform.machine())
    system = (*platform.libc_ver(), *wanted[1:])  # several machines may share a home
    digest = hashlib.sha256(' '.join([str(compiler), *torch_build, *system, *flags]).encode())
    for source in sources:
        digest.update(source.read_bytes())
    folder = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'ssn_mm'
    library = folder / f'switch_norm-{digest.hexdigest()[:16]}.so'
    if library.is_file():
        return library
    if sys.platform != 'linux' and 'CXX' not in os.environ:
        raise OSError('they are made for Linux; CXX may name a GCC or Clang with OpenMP to try')
    if compiler is None:
        raise _NotBuiltError(
            f'no C++ compiler was found: there is no {wanted[0]!r} on the path'
            f'{", which CXX names" if os.environ.get("CXX") else ""}. This installs one: '
            f'{_GET_COMPILER}'
        )
    include = _TORCH / 'include'
    headers = [include, include / 'torch' / 'csrc' / 'api' / 'include']
    if not (include / 'torch' / 'library.h').is_file():
        raise _NotBuiltError(
            f"PyTorch's C++ headers were not found: there is no {include}/torch/library.h. For "
            "Debian's own python3-torch this installs them: apt-get install libtorch-dev"
        )
    _LOG.warning('compiling the C++ kernels of ssn_mm, once, for about half a minute')
    command = [compiler, *wanted[1:]]
    includes = [f'-isystem{path}' for path in headers]
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:

        def compile_unit(source: Path) -> str:
            unit = f'{scratch}/{source.stem}.o'
            _run([*command, *flags, *includes, '-c', str(source), '-o', unit])
            return unit

        with ThreadPoolExecutor() as pool:
            units = list(pool.map(compile_unit, (s for s in sources if s.suffix == '.cpp')))
        # compiled with OpenMP and linked without it, since PyTorch brings the library, and a second
        # one would start threads of its own
        built = Path(scratch) / 'library.so'
        folders = f'-L{_TORCH / "lib"}'  # Debian's is where the linker looks anyhow
        _run([*command, '-shared', *units, folders, '-ltorch_cpu', '-lc10', '-o', str(built)])
        built.replace(library)  # whole or not at all, also when processes build at once
    return library


def _run(command: list[str]) -> None:
    done = subprocess.run(
        command, capture_output=True, encoding='utf-8', errors='replace', timeout=600
    )
    if done.returncode:
        said = done.stderr.strip()[:500] or f'exit code {done.returncode}'
        raise _NotBuiltError(
            f'{command[0]} has failed: {said}. Needed is a compiler that knows C++20 and OpenMP, '
            f'which CXX may name; this installs one: {_GET_COMPILER}'
        )


def is_faster_in_torch(name: str, x: Tensor) -> bool:
    """Whether torch's own layer beats these kernels where ``name`` alone is computed.

    Group norm keeps a contiguous group in the cache between its passes. Frozen batch norm in
    channels last takes an eighth less time.
    """
    if name == 'FBN':
        return not x.is_contiguous()
    return name != 'BN' and x.is_contiguous()


def forward(
    x: Tensor, logits: Logits, norm: Norm, channels: PerChannel
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The operator's forward pass: y, ratios, state and batch as ``fused`` has them."""
    values, radius = logits
    weight, bias, running_mean, running_var = channels
    given = (x, values, weight, bias, radius, running_mean, running_var)
    options = (norm.source, norm.names, norm.eps, norm.num_groups)
    return torch.ops.ssn_mm_cpp.forward.default(*given, *options, None, None, 0.0)


def backward(
    dy: Tensor,
    x: Tensor,
    logits: Tensor,
    ratios: Tensor,
    state: Tensor,
    norm: Norm,
    channels: PerChannel,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The operator's backward pass: the gradients for x, logits (2, K), γ and β (C,)."""
    weight, _, running_mean, running_var = channels
    given = (dy, x, logits, weight, running_mean, running_var, ratios, state)
    options = (norm.source, norm.names, norm.num_groups)
    return torch.ops.ssn_mm_cpp.backward.default(*given, *options)


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance, (N, C), of a map (N, C, *spatial), contiguous or channels last."""
    return torch.ops.ssn_mm_cpp.moments(x)


def affine(x: Tensor, shift: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    """scale * (x - shift) + bias with (N, C) shift and scale, (C,) bias; a new map like ``x``."""
    return torch.ops.ssn_mm_cpp.affine(x, shift, scale, bias)


def sums(dy: Tensor, x: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Σdy and Σdy·(x - shift) over each instance, (N, C); ``dy`` is laid out as ``x``."""
    return torch.ops.ssn_mm_cpp.sums(dy, x, shift)


def affine_grad(
    dy: Tensor, x: Tensor, shift: Tensor, scale: Tensor, slope: Tensor, offset: Tensor
) -> Tensor:
    """scale * dy + slope * (x - shift) + offset, factors (N, C); a new map like ``x``."""
    return torch.ops.ssn_mm_cpp.affine_grad(dy, x, shift, scale, slope, offset)


def sparsestmax(z: Tensor, radius: Tensor) -> Tensor:
    """The ratios of ``projection.solve``, differentiable.

    Args:
        z: (..., K), float32 or float64.
        radius: One number, or (..., 1), of ``z``'s type.
    """
    return torch.ops.ssn_mm_cpp.sparsestmax.default(z, radius)


def mixed_norm(
    x: Tensor,
    channels: PerChannel,
    means: tuple[str, ...],
    variances: tuple[str, ...],
    options: tuple[float, int, int],
    relu: bool,
    inplace: bool,
) -> Tensor:
    """Eq. 1 with given normalizers, measured and written while the map lies in the cache.

    Args:
        x: (N, C, *spatial).
        channels: γ, β, and BN's running mean and variance, (C,).
        means: Normalizers that are averaged for the mean.
        variances: Normalizers that are averaged for the variance.
        options: ε, GN's number of groups, and the correction of ``MixedNorm``.
        relu: Whether what is below 0 becomes 0.
        inplace: Whether ``x`` may be overwritten.

    Returns:
        A map like ``x``, or ``x`` itself.
    """
    names = (_joined(means), _joined(variances))
    return torch.ops.ssn_mm_cpp.mixed_norm.default(x, *channels, *names, *options, relu, inplace)


_joined = cache(','.join)

BACKEND = Backend(
    devices=('cpu',),
    dtypes=FLOATS,
    why_not=why_not,
    is_faster_in_torch=is_faster_in_torch,
    moments=moments,
    affine=affine,
    sums=sums,
    affine_grad=affine_grad,
    forward=forward,
    backward=backward,
    switch_norm=switch_norm,
    layer_call=layer_call,
    sparsestmax=sparsestmax,
    mixed_norm=mixed_norm,
    keep_selected=keep_selected,
    fill=fill,
)
