"""What mmsegmentation gets wrong in its own networks, and the mmcv that it asks for."""

from types import ModuleType
from typing import Any

from torch import Tensor

from ..layers import layers_that_measure, selecting_norms, warn_of_tiles
from .importing import after_import, before_import
from .mmcv import accepted_version


def apply() -> None:
    """Makes each patch once mmsegmentation, or its part, is imported."""
    before_import({'mmseg': accepted_version})
    after_import(
        {
            'mmseg.utils.io': read_data_only,
            'mmseg.models.segmentors.encoder_decoder': say_what_windows_do,
            'mmseg.models.segmentors.cascade_encoder_decoder': give_threshold,
        }
    )


def read_data_only(io: ModuleType) -> None:
    """Has mmsegmentation read data from a pickled picture, and run none of its code."""
    from ..weights import pickles

    vars(io)['pickle'] = pickles


def give_threshold(cascade: ModuleType) -> None:
    """Gives a cascade the threshold of its last head, for two classes in one channel.

    mmsegmentation asks the list of its heads for it.
    """
    own = cascade.CascadeEncoderDecoder._init_decode_head

    def init_decode_head(self: Any, decode_head: Any) -> None:
        own(self, decode_head)
        self.decode_head.threshold = getattr(self.decode_head[-1], 'threshold', None)

    cascade.CascadeEncoderDecoder._init_decode_head = init_decode_head


def say_what_windows_do(segmentors: ModuleType) -> None:
    """Has a segmentor warn once where it slides a window over a picture and its norms measure it.

    It waits until all layers have selected, which in validation during training they have not.
    """
    own = segmentors.EncoderDecoder.slide_inference

    def slide_inference(self: Any, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        larger = any(
            size > crop
            for size, crop in zip(inputs.shape[2:], self.test_cfg.crop_size, strict=True)
        )
        if larger and not getattr(self, '_windows_told', False):
            measuring = getattr(self, 'measuring', None)  # of a program in the network's place
            if measuring is not None or _has_selected(self):
                self._windows_told = True
                warn_of_tiles(layers_that_measure(self) if measuring is None else measuring)
        return own(self, inputs, batch_img_metas)

    segmentors.EncoderDecoder.slide_inference = slide_inference


def _has_selected(model: Any) -> bool:
    return all(None not in layer.selected for _, layer in selecting_norms(model))
