"""The preprocessing of OpenMMLab's models as a layer, so that a file may begin with it."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .tensor_mode import is_a

_SWAPS = ('channel_conversion', 'to_rgb', '_channel_conversion')  # mmseg's, others', mmengine's


class Preprocessing(nn.Module):
    """Pixels from 0 to 255 as a network takes them: ``(pixels - mean) / std``.

    Args:
        mean: Mean of each channel in the order that the network sees, (C,); or one for all, (1,).
        std: Standard deviation of each channel, or one for all.
        reverse: Whether the channels are reversed first, from BGR to RGB or back.
        spatial_rank: Dimensions after the channels: 2 of pictures, 3 of clips.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], reverse: bool, spatial_rank: int = 2
    ) -> None:
        super().__init__()
        shape = (-1, *(1 for _ in range(spatial_rank)))
        self.register_buffer('mean', torch.tensor(mean, dtype=torch.float32).view(shape))
        self.register_buffer('std', torch.tensor(std, dtype=torch.float32).view(shape))
        self.reverse, self.spatial_rank = reverse, spatial_rank

    def forward(self, pixels: Tensor) -> Tensor:
        """Makes inputs of a network from pixels (..., C, *spatial)."""
        if self.reverse:
            pixels = pixels.flip(-1 - self.spatial_rank)
        return (pixels - self.mean) / self.std

    def inverse(self, inputs: Tensor) -> Tensor:
        """The pixels, to rounding, that inputs of a network were made from."""
        pixels = inputs * self.std + self.mean
        return pixels.flip(-1 - self.spatial_rank) if self.reverse else pixels

    @property
    def meta(self) -> dict[str, Any]:
        """The arguments of this layer, as a file says them."""
        mean, std = self.mean.flatten().tolist(), self.std.flatten().tolist()
        return dict(mean=mean, std=std, reverse=self.reverse, spatial_rank=self.spatial_rank)


def preprocessing_of(model: Any, inputs: Tensor) -> Preprocessing:
    """What an OpenMMLab model does to pixels before its network sees them.

    Args:
        model: The model.
        inputs: A batch of the shape that the network takes.

    Raises:
        ValueError: The model's data preprocessor does something else, such as padding; it is named.
    """
    own = model.data_preprocessor
    name, rank = type(own).__name__, 3 if inputs.dim() == 6 else 2
    normalizes = getattr(own, '_enable_normalize', False)
    mean, std = (own.mean, own.std) if normalizes else (torch.zeros(1), torch.ones(1))
    swaps = any(getattr(own, swap, False) for swap in _SWAPS)
    reverse = swaps and inputs.shape[-1 - rank] == 3
    found = Preprocessing(mean.flatten().tolist(), std.flatten().tolist(), reverse, rank)
    for more in (0, 1):  # one of the sizes is odd
        shape = (*inputs.shape[1:-2], inputs.shape[-2] + more, inputs.shape[-1] + more)
        pixels = torch.randint(256, shape, dtype=torch.uint8)
        expected = _preprocess(model, pixels)
        if expected.shape != pixels.shape:
            raise ValueError(
                f'{name} makes inputs {tuple(expected.shape)} of pixels {shape}, but a file can '
                'normalize pixels, not pad them; leave out --preprocess, or set what '
                'data_preprocessor pads to in tests to None and pad in the test pipeline'
            )
        if not torch.allclose(found(pixels.float()), expected, rtol=1e-5, atol=1e-5):
            raise ValueError(
                f'{name} does more to pixels than to normalize them by mean and std and to reverse '
                'their channels, which is all that a file can; leave out --preprocess'
            )
    return found


def on_preprocessed(program: Any) -> Callable[[Tensor], Tensor]:
    """A program as a function of preprocessed inputs, also if its file takes pixels.

    So OpenMMLab's own data preprocessor goes on doing what it does, padding too, for files of
    either kind.

    Args:
        program: A function with a ``meta``, such as :class:`OnnxProgram`.
    """
    own = program.meta.get('preprocessing')
    return _OnPreprocessed(program, Preprocessing(**own)) if own else program


class _OnPreprocessed:
    def __init__(self, program: Any, preprocessing: Preprocessing) -> None:
        self._program, self._preprocessing, self.meta = program, preprocessing, program.meta

    def __call__(self, inputs: Tensor) -> Tensor:
        return self._program(self._preprocessing.inverse(inputs.cpu()))


def _preprocess(model: Any, pixels: Tensor) -> Tensor:
    """What a model makes of the pixels of one sample in a test."""
    samples = None
    if is_a(model, 'BaseSegmentor'):
        from mmseg.structures import SegDataSample  # not every installation has it

        samples = [SegDataSample()]
    batch: dict[str, Any] = dict(inputs=[pixels.clone()], data_samples=samples)
    return model.data_preprocessor(batch, False)['inputs'][0].float()
