"""The published layer's variance, as part of a layer's state."""

from typing import Any

import torch
from torch import nn


class Corrected(nn.Module):
    """A layer with ``correction``: elements that IN's variance is short of, 0 or 1."""

    ratio_logits: nn.Parameter

    @property
    def correction(self) -> int:
        """As it was built or loaded."""
        return int(self._buffers['correction'] is not None)  # without a look at the value

    @correction.setter
    def correction(self, value: int) -> None:
        # a buffer, since whoever puts a state in a module's place looks for its keys there
        one = torch.tensor(1, device=self.ratio_logits.device) if value else None
        self._buffers['correction'] = one

    def __setattr__(self, name: str, value: Any) -> None:
        if name == 'correction' and isinstance(value, int):  # which no buffer can be
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)
