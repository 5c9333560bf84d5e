"""Folds batch norm into the convolution or linear layer before it.

PyTorch and mmcv have folds, too: PyTorch's arithmetic is used here, but not how they find pairs.
mmcv's takes a batch norm that is registered after a convolution for one that runs after it, and
that of ``torch.fx`` needs a network that it can trace. Here the network is run and watched.
"""

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from ..contestants.plain import make_plain
from ..layers import MixedNorm
from ..ops.moments import double

Affine = _ConvNd | nn.Linear
Measured = MixedNorm | _InstanceNorm | nn.GroupNorm  # norms that measure their input
Norm = _BatchNorm | Measured


@torch.no_grad()
def fold(model: nn.Module, *inputs: Any) -> nn.Module:
    """Moves every batch norm that directly follows a convolution or linear layer into it, in place.

    The norm becomes ``nn.Identity``, the layer before it gets new weights and a bias; outputs stay
    the same to rounding. Convolutions may be grouped, dilated, transposed, of rank 1 to 3.

    Other norms in such a place overwrite the layer's output instead of asking for fresh memory,
    which on a CPU costs more than the arithmetic; so there IN, LN and GN become a ``MixedNorm``.
    BN's mean moves into the layer's bias where the variance is IN's, which no shift of a channel
    changes. Beside LN's or GN's variance, which depend on the channels' means, it stays.

    Before that, layers that state a plain one become it: convolutions with standardized weights,
    batch renormalization.

    ``model(*inputs)`` is run once and every operator that it calls is watched: a layer is folded
    only if nothing else than the norm reads its output, nothing holds that output afterwards,
    each of the two runs once, and the weights are read and registered nowhere else.

    Args:
        model: A frozen network, in evaluation; of an OpenMMLab model ``TensorMode(model)``.
        *inputs: One typical input. Paths through the model that it does not take are left alone.

    Returns:
        ``model``.

    Raises:
        ValueError: A module of ``model`` is in training.
    """
    # torch.fx leaves the containers of a traced network in training, which mean nothing
    modules = [(name, m) for name, m in model.named_modules() if type(m) is not nn.Module]
    if training := [name for name, module in modules if module.training]:
        raise ValueError(f'{training[0] or "the model"} is in training; call model.eval() first')
    make_plain(model)
    names = {module: name for name, module in model.named_modules()}
    for layer, norm in _foldable(model, inputs):
        new: nn.Module = nn.Identity()
        if isinstance(norm, _BatchNorm):
            _absorb(layer, norm)
        else:
            new = _overwriting(norm)
            if isinstance(new, MixedNorm) and (new.mean, new.var) == (('BN',), ('IN',)):
                _move_mean(layer, new)
        parent, _, attribute = names[norm].rpartition('.')
        setattr(model.get_submodule(parent), attribute, new)
    return model


@dataclass(eq=False)
class _Product:
    """The output of a convolution or linear layer, and who reads it.

    Attributes:
        layer: The layer.
        readers: The modules inside which operators read the output; None for the model itself.
        normalized: Whether the output is the only argument of a norm.
    """

    layer: Affine
    readers: set[nn.Module | None] = field(default_factory=set)
    normalized: bool = False


class _Watch(TorchDispatchMode):
    """Notes which module reads which tensor while a model runs.

    Args:
        candidates: The layers and norms that may be folded.

    Attributes:
        products: Outputs of layers that are still in memory, with the record of each.
        all_products: The records of all outputs, those that are gone included.
        readers: Parameters, with the modules inside which they were read.
        calls: How often each layer and norm ran.
    """

    def __init__(self, candidates: list[nn.Module]) -> None:
        super().__init__()
        self.candidates = candidates
        self.products = WeakTensorKeyDictionary()
        self.all_products: list[_Product] = []
        self.readers: dict[Tensor, set[nn.Module | None]] = {}
        self.calls: Counter[nn.Module] = Counter()
        self._inside: list[nn.Module | None] = [None]
        self._convolved = (
            WeakTensorKeyDictionary()
        )  # outputs of convolution, with the weight of each

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        for tensor in tree_leaves((args, kwargs)):
            if isinstance(tensor, nn.Parameter):
                self.readers.setdefault(tensor, set()).add(self._inside[-1])
            elif isinstance(tensor, Tensor) and tensor in self.products:
                self.products[tensor].readers.add(self._inside[-1])
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.convolution.default:
            self._convolved[result] = args[1]
        return result

    @contextmanager
    def hooks(self) -> Iterator[None]:
        """Has modules say when they run, before any other hook of theirs reads the output."""
        with ExitStack() as stack:
            for module in self.candidates:
                for handle in (
                    module.register_forward_pre_hook(self._enter),
                    module.register_forward_hook(self._leave, prepend=True),
                ):
                    stack.callback(handle.remove)
            yield

    def _enter(self, module: nn.Module, args: tuple) -> None:
        self.calls[module] += 1
        self._inside.append(module)
        if isinstance(module, Norm) and len(args) == 1 and args[0] in self.products:
            self.products[args[0]].normalized = True

    def _leave(self, module: nn.Module, args: tuple, output: Tensor) -> None:
        self._inside.pop()
        if isinstance(module, nn.Linear):
            # batch norm's channels are the second dimension
            plain = type(module).forward is nn.Linear.forward and output.dim() == 2
        else:
            # not of layers that compute another weight to convolve with (weight standardization)
            plain = self._convolved.get(output) is module.weight
        if isinstance(module, Affine) and plain:
            product = _Product(module)
            self.all_products.append(product)
            self.products[output] = product


def _foldable(model: nn.Module, inputs: tuple) -> list[tuple[Affine, Norm]]:
    """The pairs of a layer and a norm that alone reads its output."""
    candidates = [m for m in model.modules() if _is_affine(m) or _is_norm(m)]
    watch = _Watch(candidates)
    with watch.hooks(), watch:
        outputs = model(*inputs)
    gc.collect()
    held = set(watch.products.values())  # part of the outputs, or kept by a module
    del outputs
    places = Counter(m for _, m in model.named_modules(remove_duplicate=False))
    homes = Counter(p for _, p in model.named_parameters(remove_duplicate=False))
    pairs = []
    for product in watch.all_products:
        layer, readers = product.layer, product.readers
        norm = next(iter(readers), None)
        if product in held or not product.normalized or len(readers) != 1:
            continue
        if not isinstance(norm, Norm):
            continue
        if any(watch.calls[m] != 1 or places[m] != 1 for m in (layer, norm)):
            continue
        if all(watch.readers[p] == {layer} and homes[p] == 1 for p in layer.parameters()):
            pairs.append((layer, norm))
    return pairs


def _is_affine(module: nn.Module) -> bool:
    """Whether a layer's weight is a parameter of its own, not one that each call computes."""
    return isinstance(module, Affine) and 'weight' in module._parameters


def _is_norm(module: nn.Module) -> bool:
    """Whether a module is a norm of torch's or ours, with the forward pass of its class."""
    kinds = (_BatchNorm, nn.SyncBatchNorm, _InstanceNorm, nn.GroupNorm, MixedNorm)
    stock = isinstance(module, Norm) and type(module).forward in [kind.forward for kind in kinds]
    constants = getattr(module, 'running_mean', None) is not None
    return stock and (constants == isinstance(module, _BatchNorm | MixedNorm))


def _absorb(layer: Affine, norm: _BatchNorm) -> None:
    """Puts (W x + b - μ) γ / sqrt(σ² + ε) + β in the place of W x + b, computed in float64."""
    assert norm.running_mean is not None  # _is_norm has looked
    assert norm.running_var is not None
    transposed = isinstance(layer, _ConvTransposeNd)
    groups = layer.groups if isinstance(layer, _ConvTransposeNd) else 1
    weight, bias = fuse_conv_bn_weights(
        # of a transposed convolution, (in, out / groups, *kernel), PyTorch's takes one group alone
        torch.cat(double(layer.weight).chunk(groups), 1),
        _wide(layer.bias),
        double(norm.running_mean),
        double(norm.running_var),
        norm.eps,
        _wide(norm.weight),
        _wide(norm.bias),
        transpose=transposed,
    )
    # new parameters, since what runs on another path may hold the old ones
    needs_grad, like = layer.weight.requires_grad, layer.weight
    layer.weight = nn.Parameter(torch.cat(weight.chunk(groups, 1)).to(like), needs_grad)
    layer.bias = nn.Parameter(bias.to(like), needs_grad)


def _wide(t: Tensor | None) -> Tensor | None:
    return None if t is None else double(t)


def _overwriting(norm: Measured) -> Measured:
    """The norm that overwrites its input; on a GPU, where torch's own moves less memory, itself."""
    if isinstance(norm, MixedNorm):
        norm.inplace = True
        return norm
    groups = norm.num_groups if isinstance(norm, nn.GroupNorm) else norm.num_features
    channels = norm.num_channels if isinstance(norm, nn.GroupNorm) else norm.num_features
    if norm.weight is None or norm.weight.device.type != 'cpu':
        return norm
    name = {channels: 'IN', 1: 'LN'}.get(groups, 'GN')
    new = MixedNorm(channels, name, name, norm.eps, groups, inplace=True)
    new.weight, new.bias = norm.weight, norm.bias
    return new.to(norm.weight.dtype).eval()


def _move_mean(layer: Affine, norm: MixedNorm) -> None:
    """Moves BN's mean into the bias of the layer before."""
    bias = -norm.running_mean if layer.bias is None else layer.bias - norm.running_mean
    layer.bias = nn.Parameter(bias.to(layer.weight), layer.weight.requires_grad)
    norm.running_mean = torch.zeros_like(norm.running_mean)
