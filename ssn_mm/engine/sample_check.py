"""Whether a sample fits the network that is to see it."""

from dataclasses import dataclass
from typing import Any

from mmengine.config import ConfigDict
from torch import Tensor, nn

from ..datasets.samples import model_classes


@dataclass(frozen=True)
class SampleCheck:
    """Raises where a network would fail without a name, or learn nonsense.

    Args:
        classes: Labels are 0..classes-1; None if unknown.
        channels: Of a picture, None if unknown.
        ignored: The label of pixels that no loss counts.
    """

    classes: int | None = None
    channels: int | None = None
    ignored: int = 255

    @classmethod
    def of(cls, cfg: ConfigDict, model: nn.Module) -> 'SampleCheck':
        """What a config's model, and its data preprocessor, expect."""
        mean = getattr(getattr(model, 'data_preprocessor', None), 'mean', None)
        head = (cfg.get('model') or {}).get('decode_head')
        ignored = head.get('ignore_index', 255) if isinstance(head, dict) else 255
        channels = mean.numel() if isinstance(mean, Tensor) else None
        return cls(model_classes(cfg), channels, ignored)

    def __call__(self, sample: Any) -> None:
        """Checks what a dataset's pipeline made.

        Raises:
            ValueError: Another number of channels, an annotation that is no map of labels, or a
                label that is no class.
        """
        if not isinstance(sample, dict):
            return
        for inputs in _each(sample.get('inputs')):
            if isinstance(inputs, Tensor):
                self._check_channels(inputs)
        for data in _each(sample.get('data_samples')):
            self._check_labels(data)

    def _check_channels(self, inputs: Tensor) -> None:
        axis = 0 if inputs.dim() == 3 else 1  # (C, H, W), or clips before it
        if self.channels is not None and inputs.dim() > 2 and inputs.size(axis) != self.channels:
            raise ValueError(
                f'has {inputs.size(axis)} channels where the network takes {self.channels}, '
                f'shape {tuple(inputs.shape)}'
            )

    def _check_labels(self, data: Any) -> None:
        pixels = getattr(getattr(data, 'gt_sem_seg', None), 'data', None)
        if isinstance(pixels, Tensor):
            if pixels.dim() != 3 or pixels.size(0) != 1:
                raise ValueError(
                    f'the annotation has shape {tuple(pixels.shape)}, a map of labels (1, H, W)'
                )
            self._check_range(pixels[pixels != self.ignored], 'the annotation')
        label = getattr(data, 'gt_label', None)
        if isinstance(label, Tensor) and not label.is_floating_point():  # else scores of classes
            self._check_range(label, 'the list')

    def _check_range(self, labels: Tensor, where: str) -> None:
        if self.classes is None or not labels.numel():
            return
        low, high = (int(t) for t in labels.aminmax())
        if low < 0 or high >= self.classes:
            wrong = low if low < 0 else high
            raise ValueError(f'{where} has label {wrong}; classes are 0..{self.classes - 1}')


def _each(item: Any) -> list:
    return list(item) if isinstance(item, list | tuple) else [item]
