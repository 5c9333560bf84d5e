"""Implementations of ``switch_norm`` with one signature; ``ops.dispatch`` says which serves.

``reference`` is plain autograd, the oracle. The others are kernels under the operator ``fused``,
each declared by a ``record.Backend``: ``cpp`` for CPUs where a compiler is at hand, ``cpu`` where
none is, ``triton`` for CUDA where it can launch, else the reference.
"""
