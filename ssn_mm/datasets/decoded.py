"""What the bytes of a picture tell: whether it was turned, and whether it has lost values."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

_ORIENTATION = 0x0112  # EXIF's tag


@dataclass(frozen=True)
class Decoded:
    """A picture that mmcv has decoded.

    Args:
        content: Bytes of the file.
        pixels: The picture, (H, W) or (H, W, C); None where it is not kept.
        flag: The flag that mmcv was asked to read it by, such as 'color'.
        decode: Reads the file again, by another flag.
    """

    content: bytes | memoryview = b''
    pixels: np.ndarray | None = None
    flag: Any = ''
    decode: Callable[[str], np.ndarray] | None = None


def orientation_applied(decoded: Decoded) -> int:
    """The EXIF orientation, 2 to 8, by which a decoder has turned a picture; 1 if it has not.

    Decoders turn some formats and not others, so that a picture with an orientation is decoded
    again, with it and without.
    """
    tag, flag, decode = _orientation(decoded.content), decoded.flag, decoded.decode
    if tag == 1 or decode is None or flag not in ('color', 'grayscale'):  # others turn nothing
        return 1
    return 1 if np.array_equal(decode(flag), decode(f'{flag}_ignore_orientation')) else tag


def is_lossy(content: bytes | memoryview) -> bool:
    """Whether a file is a JPEG or a lossy WebP, which change values a little."""
    start = bytes(content[:4096])
    is_webp = start[:4] == b'RIFF' and start[8:12] == b'WEBP'
    return start[:2] == b'\xff\xd8' or (is_webp and b'VP8 ' in start[12:])


def _orientation(content: bytes | memoryview) -> int:
    if not content or (content[:4] == b'\x89PNG' and b'eXIf' not in bytes(content)):
        return 1  # Pillow would decode all of it to find none
    try:
        with Image.open(io.BytesIO(content)) as image:
            return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # not all that OpenCV reads is known to Pillow
        return 1
