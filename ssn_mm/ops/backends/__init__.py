"""Implementations of ``switch_norm`` with one signature; ``ops.dispatch`` says which serves.

``reference`` is plain autograd, for any device and dtype, and what the others are compared with.
These are kernels under the operator of ``fused``, and each declares itself in a ``record.Backend``:
``cpp`` for CPUs where there is a compiler, ``cpu`` where there is none, ``triton`` for CUDA where
it can launch.
"""
