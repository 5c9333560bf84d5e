"""Which layers lose accuracy in int8."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .int8 import Quantization
from .onnx_program import OnnxProgram

_SHOWN = 10  # layers that the table has
_COMPARED = 8  # samples on which each layer is judged


@dataclass(frozen=True)
class Losses:
    """What int8 costs a network's outputs, in dB of signal to noise; 6 dB are a bit of precision.

    Attributes:
        together: Of the network with all its layers in int8.
        alone: By a layer's name, of the network with that layer in int8 and all others in float32;
            the layer that costs most first.
        norms: By a layer's name, the norm that reads its output, for which the output becomes
            float32 again; layers whose norm is folded or that have none are left out.
    """

    together: float
    alone: Mapping[str, float]
    norms: Mapping[str, str]

    def __str__(self) -> str:
        from ..timing.tables import table  # needs NumPy, which this module's import does not

        shown = list(self.alone.items())[:_SHOWN]
        lines = [[name, self.norms.get(name, ''), f'{ratio:.1f}'] for name, ratio in shown]
        told = f'Signal to noise of the outputs in int8: {self.together:.1f} dB. '
        told += f'The {len(lines)} of {len(self.alone)} layers that cost most'
        return f'{told}:\n\n{table(["layer", "read by the norm", "dB in int8 alone"], lines)}\n'


def losses_by_layer(content: bytes, samples: Iterable[Tensor]) -> Losses:
    """Quantizes a network layer by layer, and compares its outputs with those in float32.

    Args:
        content: A float32 ONNX program's bytes, as ``export_onnx`` writes them.
        samples: Inputs of the program, all of which calibrate; eight are compared.

    Raises:
        ImportError: onnx or onnxruntime is not installed.
        ValueError: There is no sample, or no layer that can compute in int8.
    """
    own, reference = Quantization(content, samples), OnnxProgram(content)
    compared = own.samples[:: max(1, len(own.samples) // _COMPARED)]

    def ratio(quantized: bytes) -> float:
        return signal_to_noise(OnnxProgram(quantized), reference, compared)

    alone = {name: ratio(own.quantized([name])) for name in own.layers}
    return Losses(
        ratio(own.quantized()), dict(sorted(alone.items(), key=lambda item: item[1])), own.norms
    )


@torch.no_grad()
def signal_to_noise(
    program: Callable[[Tensor], Tensor],
    reference: Callable[[Tensor], Tensor],
    samples: Iterable[Tensor],
) -> float:
    """Σ expected² / Σ (found - expected)² over the outputs of two programs, in dB.

    Args:
        program: The function that is judged.
        reference: The function that is right.
        samples: What both are called with.
    """
    signal = noise = 0.0
    for sample in samples:
        expected = reference(sample).double()
        signal += expected.square().sum().item()
        noise += (program(sample).double() - expected).square().sum().item()
    if not math.isfinite(noise):
        return -math.inf
    return 10 * math.log10(signal / noise) if signal and noise else math.inf
