"""What mmsegmentation gets wrong in its own networks."""

from types import ModuleType
from typing import Any

from .importing import after_import


def apply() -> None:
    """Makes the patch once mmsegmentation's cascades are imported."""
    after_import({'mmseg.models.segmentors.cascade_encoder_decoder': give_threshold})


def give_threshold(cascade: ModuleType) -> None:
    """Gives a cascade the threshold of its last head, for two classes in one channel.

    mmsegmentation asks the list of its heads for it.
    """
    own = cascade.CascadeEncoderDecoder._init_decode_head

    def init_decode_head(self: Any, decode_head: Any) -> None:
        own(self, decode_head)
        self.decode_head.threshold = getattr(self.decode_head[-1], 'threshold', None)

    cascade.CascadeEncoderDecoder._init_decode_head = init_decode_head
