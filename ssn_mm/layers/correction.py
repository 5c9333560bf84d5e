"""The unbiased variance of the authors' layers, as an option and part of the state of ours."""

from typing import Any

import torch
from torch import Tensor, nn


class Corrected(nn.Module):
    """A layer with the option ``correction``.

    With 1, IN's variance is the unbiased one and the others derive from it, as in the authors'
    layers. It travels in the state, as a buffer that other layers do not have. ``ops.Norm`` carries
    it to the reference backend, which alone computes it; ``MixedNorm`` has it for frozen layers.
    """

    ratio_logits: nn.Parameter

    @property
    def correction(self) -> int:
        """1 for the unbiased variance, 0 for that of torch's layers."""
        return int(self._buffers['correction'] is not None)  # without a look at the value

    @correction.setter
    def correction(self, value: int) -> None:
        if value not in (0, 1):
            raise ValueError(f'correction must be 0 or 1, got {value!r}')
        # a buffer, since whoever puts a state in a module's place looks for its keys there
        one = torch.tensor(1, device=self.ratio_logits.device) if value else None
        self._buffers['correction'] = one

    def __setattr__(self, name: str, value: Any) -> None:
        if name == 'correction' and isinstance(value, int):  # which no buffer can be
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if 'correction' in self.__dict__:  # pickled as a whole before it was a buffer
            self.correction = self.__dict__.pop('correction')

    def reset_parameters(self) -> None:
        """Sets the buffer to its start, where the layer has it."""
        if self.correction:
            self._buffers['correction'].fill_(1)  # type: ignore[union-attr]

    def take_correction(self, state: dict[str, Tensor], prefix: str) -> None:
        """Takes the option from a state, and leaves it there only where the layer has it.

        A state of another norm, without logits, says nothing of it.
        """
        key = f'{prefix}correction'
        if key in state or f'{prefix}ratio_logits' in state:
            self.correction = int(state.get(key, 0))
        if not self.correction:
            state.pop(key, None)

    def extra_repr(self) -> str:
        return ', correction=1' if self.correction else ''
