"""The hook that says where the first inf or NaN of a training is, for debugging."""

from collections.abc import Iterator
from typing import Any, NoReturn

import torch
from mmengine.hooks import Hook
from mmengine.optim import AmpOptimWrapper
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from ...weights.loading import unwrapped


class FiniteCheckHook(Hook):
    """Stops a training at the first inf or NaN and names what had it first.

    Looks at each batch, at what goes into and comes out of each module, and at each parameter's
    gradient, in the order in which they are computed; the innermost module comes first. mmengine's
    ``CheckInvalidLossHook`` looks at the loss alone, which says that there is one and not where.
    Costs a pass over every map, and on a GPU a synchronisation each, so leave it out otherwise::

        python tools/train.py CONFIG --cfg-options default_hooks.finite.type=FiniteCheckHook

    Gradients are left alone where a ``GradScaler`` looks after float16's: there inf is how it
    finds its scale. So is -inf between modules, which masks mean; if NaN or a loss of -inf comes
    of it, the module where it was first is named beside.

    Raises:
        ValueError: There is one; says in which iteration, in which input, output or parameter's
            gradient of which module, how many, and where the first lies; of a batch in which
            sample, with its file.
    """

    priority = 'VERY_LOW'  # sees batch and network as all other hooks leave them

    def before_train(self, runner: Runner) -> None:
        """Puts a check in front of and behind every module, and on every gradient."""
        self.runner = runner
        self.handles: list = []
        self.first_mask = ''  # where -inf was first in this iteration
        model = unwrapped(runner.model)
        for name, module in model.named_modules():
            title = f'{name or "the network"} ({type(module).__name__})'
            self._watch_module(title, module, strict=not name)
        if not _scales_gradients(runner.optim_wrapper):
            for name, parameter in model.named_parameters():
                if parameter.requires_grad:
                    self._watch_gradient(name, parameter)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Checks the batch."""
        self.first_mask = ''
        for path, tensor in _tensors(data_batch):
            if not _is_finite(tensor):
                self._stop(
                    f'the batch{_subscript(path)}', tensor, _sample(data_batch, path, tensor)
                )

    def after_train(self, runner: Runner) -> None:
        """Takes the checks away."""
        self._remove()

    def _watch_module(self, title: str, module: nn.Module, strict: bool) -> None:
        def before(_: nn.Module, args: tuple, kwargs: dict) -> None:
            for path, tensor in _tensors(dict(enumerate(args)) | kwargs):
                what = f'input{_subscript(path)} of {title}'
                if not (_is_finite(tensor) or self._is_mask(tensor, what)):
                    self._stop(what, tensor, self._mask())

        def after(module: nn.Module, _: tuple, outputs: Any) -> None:
            for path, tensor in _tensors(outputs):
                what = f'output{_subscript(path)} of {title}'
                if not _is_finite(tensor) and (strict or not self._is_mask(tensor, what)):
                    self._stop(what, tensor, _broken_state(module) + self._mask())

        self.handles += [
            module.register_forward_pre_hook(before, with_kwargs=True),
            module.register_forward_hook(after),
        ]

    def _is_mask(self, tensor: Tensor, what: str) -> bool:
        if not (tensor.detach() < float('inf')).all():  # NaN is not less either
            return False
        self.first_mask = self.first_mask or what
        return True

    def _mask(self) -> str:
        return f'; -inf was first in {self.first_mask}' if self.first_mask else ''

    def _watch_gradient(self, name: str, parameter: nn.Parameter) -> None:
        def check(parameter: Tensor) -> None:
            if parameter.grad is not None and not _is_finite(parameter.grad):
                self._stop(f'the gradient of {name}', parameter.grad)

        self.handles.append(parameter.register_post_accumulate_grad_hook(check))

    def _stop(self, what: str, tensor: Tensor, more: str = '') -> NoReturn:
        self._remove()
        bad = ~tensor.detach().isfinite()
        nans, first = int(tensor.isnan().sum()), tuple(bad.nonzero()[0].tolist())
        raise ValueError(
            f'iteration {self.runner.iter + 1}: {what} has {nans} NaN and {int(bad.sum()) - nans} '
            f'inf among {tensor.numel()} values of shape {tuple(tensor.shape)}, the first at '
            f'{first}{more}'
        )

    def _remove(self) -> None:
        for handle in self.handles:
            handle.remove()
        self.handles = []


def _scales_gradients(optim_wrapper: Any) -> bool:
    return (
        isinstance(optim_wrapper, AmpOptimWrapper)
        and optim_wrapper.loss_scaler.is_enabled()
        and optim_wrapper.cast_dtype is not torch.bfloat16  # which has float32's range
    )


def _is_finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(tensor.detach().isfinite().all())


def _tensors(item: Any, path: tuple = ()) -> Iterator[tuple[tuple, Tensor]]:
    """Every tensor in nested containers, and the keys that lead to it."""
    if isinstance(item, Tensor):
        yield path, item
    elif isinstance(item, dict | BaseDataElement):
        for key, value in item.items():
            yield from _tensors(value, (*path, key))
    elif isinstance(item, list | tuple):
        for index, value in enumerate(item):
            yield from _tensors(value, (*path, index))


def _subscript(path: tuple) -> str:
    return ''.join(f'[{key!r}]' for key in path)


def _sample(batch: Any, path: tuple, tensor: Tensor) -> str:
    """Which sample of a batch it is, and its file where the batch knows."""
    # its place in a list of samples, as pseudo_collate makes it, else along the first axis
    index = next((key for key in path if isinstance(key, int)), None)
    if not isinstance(batch, dict):
        index = None  # a tuple of tensors
    if index is None:
        if not tensor.dim():
            return ''
        index = int((~tensor.isfinite()).nonzero()[0, 0])
    samples = batch.get('data_samples') if isinstance(batch, dict) else None
    known = isinstance(samples, list) and index < len(samples)
    info = getattr(samples[index], 'metainfo', {}) if known else {}  # type: ignore[index]
    file = info.get('img_path') or info.get('filename')
    return f', in sample {index}{f" ({file})" if file else ""}'


def _broken_state(module: nn.Module) -> str:
    """A module whose own numbers are broken makes broken maps."""
    own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
    broken = [name for name, tensor in own if not _is_finite(tensor)]
    return f'; its {", ".join(broken)} is not finite either' if broken else ''
