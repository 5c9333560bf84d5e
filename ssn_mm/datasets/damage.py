"""What is wrong with the file of a picture, by its size, its bytes and its readers."""

import os
import re
from contextlib import suppress
from pathlib import Path

# a marker in a JPEG, not in its pixels, where FF is followed by 00 or by a restart marker
_MARKER = re.compile(rb'\xff([^\x00\xff\xd0-\xd7])', re.DOTALL)
_END, _BARE = b'\xd9', b'\x01'  # the picture's end; the other marker that has no length


def damage_of(content: bytes | memoryview) -> str:
    """Why bytes are no whole picture, if a decoder does not say so itself; else ''.

    Only a JPEG that is cut short is such a one: OpenCV 4 paints the missing part grey. What counts
    is the end marker of the main picture, found segment by segment: thumbnails have their own, and
    padding, previews or a video may follow it.
    """
    if bytes(content[:2]) != b'\xff\xd8':
        return ''
    place = 2
    while found := _MARKER.search(content, place):
        if found[1] == _END:
            return ''
        place = found.end()
        if found[1] != _BARE:
            place += int.from_bytes(content[place : place + 2], 'big')
    return f'the file is cut short at {len(content)} bytes'


def damage_in(path: str) -> tuple[str, str] | None:
    """Kind and text of what is wrong with a local file by its size or its bytes, or None."""
    if not os.path.isfile(path):
        return None  # not on this disk, or its loader completes the name
    with Path(path).open('rb') as file:
        start = file.read(2)
        what = damage_of(start + file.read()) if start == b'\xff\xd8' else ''
    if not start:
        return 'zero bytes', 'the file is empty'
    return ('unreadable', what) if what else None


def read_otherwise(path: str) -> str:
    """How mmcv can read a whole picture that a config's loading step cannot; '' if in no way."""
    import mmcv

    if not os.path.isfile(path):
        return ''
    for backend in ('cv2', 'tifffile', 'pillow'):
        with suppress(Exception):  # each has its own, and may be missing
            image = mmcv.imfrombytes(Path(path).read_bytes(), flag='unchanged', backend=backend)
            if image is not None and image.size:
                return (
                    f'is a whole picture of {image.dtype}, shape {image.shape}, that the reader of '
                    f"the config cannot read; imdecode_backend={backend!r}, color_type='unchanged' "
                    'of LoadImageFromFile can'
                )
    return ''
