"""Names of backends, as tests go through them."""

from ssn_mm.ops.dispatch import BACKENDS

KERNELS = tuple(name for name in BACKENDS if name != 'reference')
ON_CPU = tuple(name for name in KERNELS if name != 'triton')  # which a CPU only interprets
