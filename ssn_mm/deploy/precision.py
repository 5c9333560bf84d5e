"""Networks as files hold them: in a precision, with float32 at both ends."""

import copy
from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..layers import MixedNorm
from ..layers.found_norm import find_norm
from ..layers.replacing import replace_modules
from .int8 import checked_samples
from .preprocessing import Preprocessing
from .tensor_mode import TensorMode

# largest difference from the network in float32 that is accepted, as a part of the largest output;
# float32 reaches 1e-6 or so. float16 has 11 bits of a number and bfloat16 has 8: trained networks
# reach 1e-3 and 1e-2, untrained ones of 50 layers with IN on maps of nine pixels 1e-2 and 6e-2.
# int8 has 8 bits for all numbers of a map together, and is compared on the samples that it was
# calibrated with
TOLERANCES = {'float32': 1e-4, 'float16': 2e-2, 'bfloat16': 1e-1, 'int8': 0.3}


class FileNetwork(nn.Module):
    """A network as it is written to a file: a function from float32 to float32.

    Convolutions, linear layers and all between them compute in ``precision``. Norms compute in
    float32, parameters and statistics too: the square of a number above 255 is none of float16's,
    and a variance in bfloat16 would have two digits.

    Args:
        model: A frozen network, in evaluation. It is left as it is.
        precision: One of ``TOLERANCES``.
        preprocessing: What is done to the inputs first; None for inputs that are preprocessed.
        calibration: Inputs on which int8 measures the ranges of maps, see
            :func:`.calibration_samples`.

    Attributes:
        in_float32: Makes the network that this one approximates.
        onnx: Its ONNX program as PyTorch's exporter made it, once it has been exported.
        samples: The calibration's inputs; none in other precisions than int8.

    Raises:
        TypeError: A sample is not a tensor.
        ValueError: There is no such precision; or int8 has no samples, or one is not finite.
    """

    def __init__(
        self,
        model: nn.Module,
        precision: str = 'float32',
        preprocessing: Preprocessing | None = None,
        calibration: Iterable[Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.dtype, self.precision = dtype_of(precision), precision
        self.preprocessing = preprocessing
        samples = checked_samples(calibration or ()) if precision == 'int8' else []
        self.samples = [as_taken(sample) for sample in samples]
        half = self.dtype != torch.float32
        self.network = TensorMode(_in_half(model, self.dtype) if half else model)
        self.in_float32 = partial(FileNetwork, model, preprocessing=preprocessing)
        self.onnx: Any = None
        self.eval()

    def forward(self, inputs: Tensor) -> Tensor:
        if self.preprocessing is not None:
            inputs = self.preprocessing(inputs)
        return self.network(inputs.to(self.dtype)).float()

    @property
    def meta(self) -> dict[str, Any]:
        """What a file says of the network."""
        own = self.preprocessing
        return dict(precision=self.precision, preprocessing=own.meta if own else None)


def as_taken(inputs: Tensor) -> Tensor:
    """Inputs of the kind that every file takes: float32, contiguous.

    Exporters would have the type and the strides of their example for those of all inputs.
    """
    return inputs.float().contiguous()


def centred(network: FileNetwork) -> FileNetwork:
    """A network whose variances are of centred maps in every layout.

    For maps in channels_last PyTorch's group norm takes E[x²] - E[x]² on a CPU: at a mean of 10⁴
    and a standard deviation of 1 that leaves no digit.
    """
    plain = copy.deepcopy(network)
    new: dict[nn.Module, nn.Module] = {}
    for norm in plain.modules():
        stock = type(norm).forward is nn.GroupNorm.forward  # timm's have more in it
        if isinstance(norm, nn.GroupNorm) and stock and norm.weight is not None:
            name = 'LN' if norm.num_groups == 1 else 'GN'
            new[norm] = MixedNorm(norm.num_channels, name, name, norm.eps, norm.num_groups)
            new[norm].weight, new[norm].bias = norm.weight, norm.bias
    plain = replace_modules(plain, new).eval()  # type: ignore[assignment]
    contiguous = dict(memory_format=torch.contiguous_format)  # as the maps are
    return plain.to(**contiguous)  # type: ignore[call-overload]


def dtype_of(precision: str) -> torch.dtype:
    """The type of a network's numbers in a precision; that of int8 is float32 until it is exported.

    Raises:
        ValueError: There is no such precision.
    """
    if precision not in TOLERANCES:
        raise ValueError(f'precision is one of {", ".join(TOLERANCES)}, got {precision!r}')
    return torch.float32 if precision == 'int8' else getattr(torch, precision)


def _in_half(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy of a network that computes in half precision, but for its norms."""
    half = copy.deepcopy(model)
    for module in half.modules():
        if find_norm(module):
            module.register_forward_pre_hook(partial(_cast, torch.float32), with_kwargs=True)
            module.register_forward_hook(partial(_cast_output, dtype))
        elif any(True for _ in module.parameters(recurse=False)):
            module._apply(partial(_to, dtype), recurse=False)
            # what a network computes besides, such as positions, is float32
            module.register_forward_pre_hook(partial(_cast, dtype), with_kwargs=True)
    return half


def _to(dtype: torch.dtype, value: Any) -> Any:
    floating = isinstance(value, Tensor) and value.is_floating_point()
    return value.to(dtype) if floating else value


def _cast(dtype: torch.dtype, module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    given = {key: _to(dtype, value) for key, value in kwargs.items()}
    return tuple(_to(dtype, value) for value in args), given


def _cast_output(dtype: torch.dtype, module: nn.Module, args: tuple, output: Any) -> Any:
    return _to(dtype, output)
