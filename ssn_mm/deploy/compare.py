"""Compares programs with the network that they were made of."""

from collections.abc import Callable
from contextlib import suppress

import torch
from torch import Tensor

from ..commands import in_a_line
from .precision import TOLERANCES, FileNetwork, as_taken

_NOT_WRITTEN = ', so it is not written'


def check_file(program: Callable, network: FileNetwork, inputs: Tensor, what: str) -> float:
    """Compares a program with its network in float32: as exported, one sample, another size.

    Of int8 that is on the samples that it was calibrated with: noise has other ranges, and so have
    other sizes, at which the program that becomes int8 is compared, and int8 has to run.
    """
    reference, inputs = network.in_float32(), as_taken(inputs)
    if not network.samples:
        sizes = [inputs, inputs[:1], *_other_size(reference, inputs)]
    else:
        sizes = network.samples.copy()
        alike = [x for x in sizes if x.shape == sizes[0].shape]
        sizes.append(torch.cat(alike[:4]))  # a runtime's kernel may be right for one sample alone
        for other in _other_size(reference, sizes[0]):
            _run(program, other, what, network.precision)
    return max(check_outputs(program, reference, x, what, network.precision) for x in sizes)


def check_other_size(program: Callable, network: FileNetwork, inputs: Tensor, what: str) -> None:
    """Compares a program that becomes int8, in float32 yet, at a size that is not the example's."""
    reference = network.in_float32()
    for other in _other_size(reference, inputs):
        check_outputs(program, reference, other, what)


@torch.no_grad()
def _other_size(reference: Callable, inputs: Tensor) -> list[Tensor]:
    """One sample that is larger by odd numbers; none of a network that takes one size alone."""
    other = inputs[:1]
    if inputs.dim() > 2:
        other = torch.cat([other, other], -1)[..., : inputs.shape[-1] + 13]
    if inputs.dim() > 3:
        other = torch.cat([other, other], -2)[..., : inputs.shape[-2] + 7, :]
    with suppress(Exception):  # whatever such a network raises
        reference(other)
        return [other]
    return []


def check_outputs(
    program: Callable[[Tensor], Tensor],
    reference: Callable[[Tensor], Tensor],
    inputs: Tensor,
    what: str,
    precision: str = 'float32',
    then: str = _NOT_WRITTEN,
) -> float:
    """Largest difference of two functions' outputs, relative to the largest output.

    Args:
        program: The function that is checked.
        reference: The function that is right.
        inputs: What both are called with.
        what: What the first is called in the message.
        precision: That of the program, whose tolerance applies.
        then: What the message says that follows.

    Raises:
        ValueError: The difference is above the tolerance, or a number is NaN; or the program does
            not run.
    """
    with torch.no_grad():
        expected = reference(inputs)
        found = _run(program, inputs, what, precision, then)
    difference, scale = largest_difference(found, expected)
    tolerance = TOLERANCES[precision]
    if not difference <= tolerance:
        hint = '' if precision == 'float32' else f'; {_why(precision, found)}'
        raise ValueError(
            f'outputs of {what} differ by {difference:.2g} of the largest, {scale:.3g}; at most '
            f'{tolerance:g} is accepted in {precision}{then}{hint}'
        )
    return difference


def _run(
    program: Callable, inputs: Tensor, what: str, precision: str, then: str = _NOT_WRITTEN
) -> Tensor:
    """A program's outputs; ValueError where it does not run."""
    try:
        return program(inputs)
    except Exception as error:  # such as that of a kernel that lacks a type
        raise ValueError(
            f'{what}, of {precision}, does not run on inputs {tuple(inputs.shape)} here: '
            f'{in_a_line(error)}{then}'
        ) from error


def largest_difference(found: Tensor, expected: Tensor) -> tuple[float, float]:
    """The largest difference of outputs, relative to the largest expected; and that one.

    Infinities that are the same, such as those of masked scores, are no difference.
    """
    scale = expected[expected.isfinite()].abs().max().item() if expected.isfinite().any() else 0.0
    difference = torch.where(found == expected, 0, (found - expected).abs())
    return difference.max().item() / (scale or 1.0), scale


def _why(precision: str, found: Tensor) -> str:
    if precision == 'float16' and not found.isfinite().all():
        return 'numbers above 65504 are none of float16; take bfloat16 or float32'
    return 'take float32, or recalibrate or train in this precision'
