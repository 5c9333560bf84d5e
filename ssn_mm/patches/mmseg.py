"""What mmsegmentation gets wrong in its own networks, and the mmcv that it asks for."""

from types import ModuleType
from typing import Any

from .importing import after_import, before_import
from .mmcv import accepted_version


def apply() -> None:
    """Makes each patch once mmsegmentation, or its part, is imported."""
    before_import({'mmseg': accepted_version})
    after_import(
        {
            'mmseg.utils.io': read_data_only,
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
