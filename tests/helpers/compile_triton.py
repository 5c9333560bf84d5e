"""Compiles every Triton kernel for GPUs that are not there, and looks at what came out.

Ends with 77 where this Triton cannot; run by test_triton_launches.py.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import triton

try:
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    assert 'constexprs' in ASTSource.__init__.__code__.co_varnames, 'an older interface'
    assert 'nvidia' in triton.backends.backends, 'no NVIDIA compiler'
except (ImportError, AssertionError) as error:
    print(error)
    sys.exit(77)

from triton_layers import Logits, Norm, PerChannel, kernels, run_layer

TYPES = {torch.float32: '*fp32', torch.bfloat16: '*bf16', torch.float64: '*fp64'}
TOOL = Path(triton.__file__).parent / 'backends/nvidia/bin/cuobjdump'
STREAMS = {kernels.reduce_kernel: 'ld', kernels.affine_kernel: 'st'}
NAMES = ('IN', 'LN', 'BN')


class Compiler:
    """Stands where kernels are launched: compiles them instead and notes their names."""

    def __init__(self, arch, names, only=()):
        self.arch, self.names, self.only = arch, names, only

    def __call__(self, kernel, programs, *arguments, num_warps, **constants):
        if self.only and kernel not in self.only:
            return
        signature, attributes = dict.fromkeys(constants, 'constexpr'), {}
        for i, (name, value) in enumerate(zip(kernel.arg_names, arguments, strict=False)):
            if value is None or (isinstance(value, int) and value == 1):
                signature[name], constants[name] = 'constexpr', value
            else:
                tensor = isinstance(value, torch.Tensor)
                signature[name] = TYPES[value.dtype] if tensor else 'i32'
                if tensor or value % 16 == 0:
                    attributes[(i,)] = [['tt.divisibility', 16]]
        source = ASTSource(kernel, signature, constants, attributes)
        target, options = GPUTarget('cuda', self.arch, 32), dict(num_warps=num_warps)
        self.check(kernel, triton.compile(source, target, options).asm)
        self.names.add(kernel.__name__)

    def check(self, kernel, asm):
        said = f'{kernel.__name__} for sm_{self.arch}'
        if kernel in STREAMS:
            vectors = STREAMS[kernel] + r'[.]global\S*[.]v[24]'
            assert re.search(vectors, asm['ptx']), f'{said} loads or stores no vectors'
            assert not re.search(r'arith.muli .*xi32>', asm['ttir']), f'{said} has 32-bit indices'
        if self.only:
            assert stack(asm['cubin']) == 0, f'{said} spills {stack(asm["cubin"])} bytes'


def stack(cubin):
    """Bytes that each thread keeps in memory for want of registers."""
    with tempfile.NamedTemporaryFile(suffix='.cubin') as file:
        file.write(cubin)
        file.flush()
        said = subprocess.check_output([TOOL, '--dump-resource-usage', file.name], text=True)
    return int(re.search(r'STACK:(\d+)', said)[1])


def compile_layer(shape, dtype, names, layout):
    x = torch.empty(shape, dtype=dtype, device='meta').contiguous(memory_format=layout)
    weight = torch.empty(shape[1], dtype=torch.promote_types(dtype, torch.float32), device='meta')
    logits = weight.new_empty(2, len(names))
    running = (weight, weight) if 'FBN' in names else (None, None)
    run_layer(x, x, logits, weight[0], weight, weight, running, names)


def compile_between(n, c):
    """What lies between the passes over the map."""
    mean = torch.empty(n, c, device='meta')
    weight, logits = mean[0], mean.new_empty(2, 3)
    given = (logits, Norm(NAMES, 1e-5, 32, source='logits'), PerChannel(weight))
    mixed = kernels.mix(mean, mean, Logits(logits, weight[0]), *given[1:])
    kernels.mix_backward(mixed, (mean, mean), (mean, mean), *given, 49)


LAYERS = {
    80: ((8, 64, 14, 14), torch.float64, ('IN', 'GN', 'BN', 'FBN'), torch.contiguous_format),
    90: ((64, 256, 7, 7), torch.bfloat16, ('BN', 'LN'), torch.channels_last),
}
kernels.plans._processors = lambda device: 132
compiled = set()
for arch, layer in LAYERS.items():
    kernels._run = Compiler(arch, compiled)
    compile_layer(*layer)
    # where most numbers are alive
    kernels._run = Compiler(arch, compiled, (kernels.mix_kernel, kernels.mix_grad_kernel))
    compile_between(32, 256)  # 8192 cells
    compile_between(8, 512)  # half as many, in one program
assert compiled == {name for name in vars(kernels) if name.endswith('_kernel')}
