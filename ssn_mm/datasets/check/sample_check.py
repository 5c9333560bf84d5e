"""Checks whether a sample fits the network that is to see it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmengine.config import ConfigDict
from torch import Tensor

from ..nested import type_name
from ..reading import FaultError

_HEADS = ('decode_head', 'cls_head', 'head')  # these learn the labels themselves
_NO_LABEL = -1  # mmaction2's label in a test list without labels


@dataclass(frozen=True)
class SampleCheck:
    """Refuses a sample at which a network would fail without naming it, or learn nonsense.

    Args:
        classes: Number of classes, labels being 0..classes-1; None if unknown.
        channels: Number of channels that the network's preprocessor normalizes, None if unknown; a
            picture of one channel is repeated.
        ignored: Labels of pixels that no loss counts.
        training: Whether each sample needs a label, which an evaluation's does not.
    """

    classes: int | None = None
    channels: int | None = None
    ignored: tuple[int, ...] = (255,)
    training: bool = True

    @classmethod
    def of(cls, cfg: ConfigDict, training: bool = True) -> 'SampleCheck':
        """The check that a config's network and its data preprocessor ask for."""
        model = _network(cfg)
        preprocessor = model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
        mean = preprocessor.get('mean') if isinstance(preprocessor, Mapping) else None
        channels = len(mean) if isinstance(mean, list | tuple) else None
        ignored = {head.get('ignore_index', 255) for head in _heads(model, ('decode_head',))}
        classes = model_classes(cfg)
        if not training and 'Retriev' in type_name(model):
            classes = None  # it is tested on others than those that it has learned
        return cls(classes, channels, tuple(sorted(ignored)) or (255,), training)

    def __call__(self, sample: Any) -> None:
        """Checks a sample after its dataset's pipeline.

        Raises:
            FaultError: Another number of channels, an annotation that is no map of labels, or a
                label that is no class.
        """
        if isinstance(sample, list | tuple):  # several views of one
            for view in sample:
                self(view)
        if not isinstance(sample, Mapping):
            return
        inputs = [each for each in _each(sample.get('inputs')) if isinstance(each, Tensor)]
        for each in inputs:
            self._check_channels(each)
        for data in _each(sample.get('data_samples')):
            self._check_labels(data, [tuple(each.shape[-2:]) for each in inputs])

    def _check_channels(self, inputs: Tensor) -> None:
        axis = 0 if inputs.dim() == 3 else 1  # (C, H, W), or clips before it
        if self.channels is None or inputs.dim() < 3:
            return
        if inputs.size(axis) not in (1, self.channels) and self.channels != 1:
            raise FaultError(
                'other channels',
                f'has {inputs.size(axis)} channels where the network takes {self.channels}, '
                f'shape {tuple(inputs.shape)}',
            )

    def _check_labels(self, data: Any, sizes: list[tuple[int, ...]]) -> None:
        pixels = getattr(getattr(data, 'gt_sem_seg', None), 'data', None)
        if isinstance(pixels, Tensor):
            meta = getattr(data, 'metainfo', {})
            sizes += [tuple(meta[key][:2]) for key in ('ori_shape', 'img_shape') if meta.get(key)]
            if pixels.size(0) != 1 and sizes and tuple(pixels.shape[-2:]) not in sizes:
                what = f'the annotation has shape {tuple(pixels.shape)}, not (1, H, W)'
                raise FaultError('label out of range', what)
            for ignored in self.ignored:
                pixels = pixels[pixels != ignored]
            self._check_range(pixels, 'the annotation')
        label = getattr(data, 'gt_label', None)
        if isinstance(label, Tensor) and not label.is_floating_point():  # else scores of classes
            self._check_range(label if self.training else label[label != _NO_LABEL], 'the list')

    def _check_range(self, labels: Tensor, where: str) -> None:
        if self.classes is None or not labels.numel():
            return
        low, high = (int(t) for t in labels.aminmax())
        if low < 0 or high >= self.classes:
            wrong = low if low < 0 else high
            what = f'{where} has label {wrong}; classes are 0..{self.classes - 1}'
            raise FaultError('label out of range', what)


def model_classes(cfg: Any) -> int | None:
    """How many labels the config's network tells apart, None if its config does not say it.

    A head with one channel for two classes, background and foreground, may call them one.
    """
    heads = [head for head in _heads(_network(cfg), _HEADS) if head.get('num_classes')]
    counts = [max(head['num_classes'], 2 if _is_binary(head) else 1) for head in heads]
    return max(counts, default=None)


def _is_binary(head: Mapping) -> bool:
    """Whether a head of segmentation gives one channel, by mmsegmentation's reading of it."""
    channels = head.get('out_channels') or head['num_classes']
    return channels == 1 and 'Depth' not in type_name(head)


def _network(cfg: Any) -> Mapping:
    """The config of the network, inside what wraps it for test-time augmentation."""
    model = cfg.get('model')
    while isinstance(model, Mapping) and isinstance(model.get('module'), Mapping):
        model = model['module']
    return model if isinstance(model, Mapping) else {}


def _heads(model: Mapping, keys: tuple[str, ...]) -> list[Mapping]:
    """Heads by their keys, those of a cascade apart."""
    found = [head for key in keys for head in _each(model.get(key))]
    return [head for head in found if isinstance(head, Mapping)]


def _each(item: Any) -> list:
    return list(item) if isinstance(item, list | tuple) else [item]
