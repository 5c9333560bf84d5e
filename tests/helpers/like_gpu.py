"""A GPU's rules where there is none: what CUDA refuses, and what would wait for it, raises."""

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from ssn_mm.ops.backends import fused

# No deterministic algorithm on CUDA (torch.use_deterministic_algorithms lists them), or one that
# sorts in place of atomics.
NOT_DETERMINISTIC = """
    cumsum cumprod logcumsumexp put put_ histc bincount median nanmedian kthvalue scatter scatter_
    scatter_add scatter_add_ scatter_reduce scatter_reduce_ index_put index_put_ index_add
    index_add_ index_copy index_copy_ index_reduce index_reduce_ _index_put_impl_ gather
    index_select repeat_interleave embedding_dense_backward avg_pool3d_backward
    _adaptive_avg_pool2d_backward _adaptive_avg_pool3d_backward adaptive_max_pool2d_backward
    fractional_max_pool2d_backward fractional_max_pool3d_backward max_unpool2d max_unpool3d
    max_pool3d_with_indices_backward upsample_linear1d_backward upsample_bilinear2d_backward
    upsample_bicubic2d_backward upsample_trilinear3d_backward reflection_pad1d_backward
    reflection_pad2d_backward reflection_pad3d_backward replication_pad1d_backward
    replication_pad2d_backward replication_pad3d_backward nll_loss_forward nll_loss2d_forward
    _ctc_loss_backward _embedding_bag_backward grid_sampler_2d_backward grid_sampler_3d_backward
"""
# Values that the CPU reads, shapes that depend on values, tensors made of the CPU's numbers.
WAITS = """
    _local_scalar_dense item equal is_nonzero nonzero nonzero_static masked_select unique
    _unique2 unique_consecutive unique_dim index allclose lift_fresh lift_fresh_copy
"""


class LikeGPU(TorchDispatchMode):
    """Stops at operators that a deterministic GPU refuses or that make the CPU and it wait.

    It sees those within our own operator, too. Kernels of Triton are counted, not run.

    Attributes:
        seen: Names of operators and kernels, in order.
    """

    def __init__(self):
        super().__init__()
        self.seen = []
        self._lists = _Lists()

    def __enter__(self):
        self._lists.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self._lists.__exit__(*error)

    def launch(self, kernel, *_, **__):
        """Stands in for ``triton._run``."""
        self.seen.append(kernel.__name__)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func.overloadpacket._qualified_op_name.split('::')[1]
        own = {'switch_norm': fused._forward, 'switch_norm_backward': fused._backward}
        if name in own:
            with self:
                return own[name](*args, **kwargs)
        self.seen.append(name)
        if name in NOT_DETERMINISTIC.split():
            raise RuntimeError(f'{func} does not have a deterministic implementation on CUDA')
        moves = name == '_to_copy' and kwargs.get('device') not in (None, args[0].device)
        if name in WAITS.split() or moves:
            raise RuntimeError(f'{func} copies between CPU and GPU, and waits')
        return func(*args, **kwargs)


class _Lists(TorchFunctionMode):
    """Values that leave PyTorch without an operator."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in (torch.Tensor.tolist, torch.Tensor.numpy):
            raise RuntimeError(f'{func.__name__} copies between CPU and GPU, and waits')
        return func(*args, **(kwargs or {}))
