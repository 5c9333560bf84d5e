"""Mixed precision on a CPU, too."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from torch import nn

DTYPES = ('bfloat16', 'float16')


class CPUAmpOptimWrapper(AmpOptimWrapper):
    """mmengine's ``AmpOptimWrapper`` for a training on a CPU, which mmengine's own refuses.

    PyTorch has had both dtypes and the scaler on CPUs for long. They are slower there than
    float32: it is for trying out what a GPU will do.

    Args:
        loss_scale: 'dynamic', a fixed scale (float), or the arguments of
            ``torch.amp.GradScaler``. Its state is saved and resumed with the optimizer's.
        dtype: 'bfloat16', or 'float16' for the numbers that a GPU trains with by default.
        **kwargs: For ``OptimWrapper``.

    Raises:
        ValueError: ``dtype`` is neither of the two.
        TypeError: ``loss_scale`` is none of the three.
    """

    def __init__(
        self, loss_scale: str | float | dict = 'dynamic', dtype: str = 'bfloat16', **kwargs
    ) -> None:
        if dtype not in DTYPES:
            raise ValueError(f'dtype must be one of {DTYPES}, got {dtype!r}')
        OptimWrapper.__init__(self, **kwargs)  # AmpOptimWrapper's asserts a GPU
        self.cast_dtype = getattr(torch, dtype)
        fixed = isinstance(loss_scale, float)
        self._scale_update_param = loss_scale if fixed else None  # AmpOptimWrapper's step reads it
        if loss_scale == 'dynamic':
            options: dict = {}
        elif fixed:
            options = dict(init_scale=loss_scale)
        elif isinstance(loss_scale, dict):
            options = loss_scale
        else:
            raise TypeError(f"loss_scale must be 'dynamic', a float or a dict, got {loss_scale!r}")
        self.loss_scaler = torch.amp.GradScaler('cpu', **options)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Casts what runs in it; accumulation waits with synchronising ranks, as everywhere."""
        # AmpOptimWrapper's own asserts bfloat16 on a CPU
        with OptimWrapper.optim_context(self, model), torch.autocast('cpu', self.cast_dtype):
            yield
