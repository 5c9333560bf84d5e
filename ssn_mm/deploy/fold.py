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
from ..layers.relu import ReLUOnce, is_relu
from ..layers.replacing import replace_modules
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
    What BN gives to a mix with IN moves into the layer, too: its mean into the bias, its factors
    into the weights. Beside LN and GN, which depend on the channels' means, it stays.
    Where an ``nn.ReLU`` alone reads the output of a ``MixedNorm``, both take one pass on a CPU.

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
    foldable, rectified = _pairs(model, inputs)
    for layer, norm in foldable:
        new: nn.Module = nn.Identity()
        if isinstance(norm, _BatchNorm):
            _absorb(layer, norm)
        else:
            new = _overwriting(norm)
            if isinstance(new, MixedNorm):
                _move_constants(layer, new)
        parent, _, attribute = names[norm].rpartition('.')
        setattr(model.get_submodule(parent), attribute, new)
    return _rectify_in_norms(model, {names[norm]: relu for norm, relu in rectified})


def _rectify_in_norms(model: nn.Module, relus: dict[str, nn.ReLU]) -> nn.Module:
    """Lets the norms of these names do the ReLU that follows each, where they can."""
    after: dict[nn.Module, nn.Module] = {}
    for name, relu in relus.items():
        norm = model.get_submodule(name)
        if isinstance(norm, MixedNorm):
            norm.relu_follows = True
            after.setdefault(relu, ReLUOnce.in_place_of(relu))
    return replace_modules(model, after)


@dataclass(eq=False)
class _Product:
    """The output of a convolution, linear layer or norm, and who reads it.

    Attributes:
        layer: The layer.
        readers: The modules inside which operators read the output; None for the model itself.
        passed: Whether the output is the only argument of a norm or ReLU.
    """

    layer: Affine | Norm
    readers: set[nn.Module | None] = field(default_factory=set)
    passed: bool = False


class _Watch(TorchDispatchMode):
    """Notes which module reads which tensor while a model runs.

    Args:
        candidates: The layers and norms that may be folded, and ReLUs.

    Attributes:
        products: Outputs of layers that are still in memory, with the record of each.
        all_products: The records of all outputs, those that are gone included.
        readers: Parameters, with the modules inside which they were read.
        calls: How often each of the candidates ran.
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
        reads = isinstance(module, Norm | nn.ReLU) and len(args) == 1
        if reads and args[0] in self.products:
            self.products[args[0]].passed = True

    def _leave(self, module: nn.Module, args: tuple, output: Tensor) -> None:
        self._inside.pop()
        if isinstance(module, nn.ReLU):
            self.products.pop(output, None)  # overwritten: it is the ReLU's from here on
            return
        if isinstance(module, Norm):
            plain = output not in self.products  # which an overwritten one is
        elif isinstance(module, nn.Linear):
            # batch norm's channels are the second dimension
            plain = type(module).forward is nn.Linear.forward and output.dim() == 2
        else:
            # not of layers that compute another weight to convolve with (weight standardization)
            plain = self._convolved.get(output) is module.weight
        if plain and isinstance(module, Affine | Norm):
            self.all_products.append(product := _Product(module))
            self.products[output] = product


def _pairs(
    model: nn.Module, inputs: tuple
) -> tuple[list[tuple[Affine, Norm]], list[tuple[Norm, nn.ReLU]]]:
    """The pairs of a layer and a norm that alone reads its output, and of a norm and a ReLU."""
    candidates = [m for m in model.modules() if _is_affine(m) or is_relu(m)]
    candidates += [m for m in model.modules() if _is_norm(m) and not m._forward_hooks]
    watch = _Watch(candidates)
    with watch.hooks(), watch:
        outputs = model(*inputs)
    gc.collect()
    held = set(watch.products.values())  # part of the outputs, or kept by a module
    del outputs
    places = Counter(m for _, m in model.named_modules(remove_duplicate=False))
    homes = Counter(p for _, p in model.named_parameters(remove_duplicate=False))
    foldable, rectified = [], []
    for product in watch.all_products:
        layer, readers = product.layer, product.readers
        reader = next(iter(readers), None)
        if reader is None or product in held or not product.passed or len(readers) != 1:
            continue
        if not all(watch.calls[m] == places[m] == 1 for m in (layer, reader) if not is_relu(m)):
            continue
        if isinstance(layer, Norm) and is_relu(reader):
            rectified.append((layer, reader))
        elif isinstance(reader, Norm) and isinstance(layer, Affine):
            alone = (watch.readers[p] == {layer} and homes[p] == 1 for p in layer.parameters())
            if all(alone):
                foldable.append((layer, reader))
    return foldable, rectified


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


def _move_constants(layer: Affine, norm: MixedNorm) -> None:
    """Moves what BN gives to a mix into the layer before, where IN gives the rest.

    A shift of a channel changes no variance of IN, so BN's mean moves into the bias; and no mean of
    IN is left of a shift, so BN's factors move into the weights.
    """
    if (norm.mean, norm.var) == (('BN',), ('IN',)):
        bias = -norm.running_mean if layer.bias is None else layer.bias - norm.running_mean
        layer.bias = nn.Parameter(bias.to(layer.weight), layer.weight.requires_grad)
        norm.running_mean = torch.zeros_like(norm.running_mean)
    elif (norm.mean, norm.var) == (('IN',), ('BN',)):
        plain = nn.BatchNorm1d(norm.num_features, norm._eps).to(norm.weight).eval()
        plain.weight, plain.running_var = norm.weight, norm.running_var
        _absorb(layer, plain)
        norm.weight = nn.Parameter(torch.ones_like(norm.weight), norm.weight.requires_grad)
        norm.running_var = torch.full_like(norm.running_var, 1 - norm._eps)
