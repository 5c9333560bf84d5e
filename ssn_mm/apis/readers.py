"""Readers of videos: those that are installed, and which of them can decode a file."""

from collections.abc import Iterator
from importlib.util import find_spec
from multiprocessing import current_process
from typing import Any, Protocol

import cv2
import numpy as np

from ..commands import in_a_line
from ..datasets.pool import Failure
from .decoding import decode_apart, told

_TRIES = 100  # frames that may be broken before the first whole one


class UnreadableError(ValueError):
    """A file is no picture or video, or a broken one."""


class Reader(Protocol):
    """An open video.

    Attributes:
        rate: Frames per second, as the file says it.
        stated: How many frames it says it has.
    """

    rate: float
    stated: float

    def advance(self) -> bool:
        """Goes on to the next frame; False at the end."""

    def frame(self) -> np.ndarray | None:
        """The frame, (H, W, 3) uint8 in BGR; None if it is broken."""

    def close(self) -> None: ...


class OpenCVReader:
    def __init__(self, source: str | int) -> None:
        self._capture = cv2.VideoCapture(source)
        if not self._capture.isOpened():
            self.close()
            raise UnreadableError('cannot open it')
        self.rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.stated = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)

    def advance(self) -> bool:
        return self._capture.grab()

    def frame(self) -> np.ndarray | None:
        return self._capture.retrieve()[1]

    def close(self) -> None:
        self._capture.release()


class _Decord:
    def __init__(self, source: str) -> None:
        from decord import VideoReader  # not among the package's requirements

        self._video = VideoReader(source, num_threads=1)
        self.rate, self.stated = self._video.get_avg_fps(), float(len(self._video))
        self._number = -1

    def advance(self) -> bool:
        self._number += 1
        return self._number < self.stated

    def frame(self) -> np.ndarray | None:
        try:
            return self._video[self._number].asnumpy()[..., ::-1]
        except Exception:  # of its own kind, which has no common base
            return None

    def close(self) -> None:
        del self._video


class _PyAV:
    def __init__(self, source: str) -> None:
        import av  # not among the package's requirements

        self._errors = av.error.FFmpegError
        self._container = av.open(source)
        stream = self._container.streams.video[0]
        self.rate, self.stated = float(stream.average_rate or 0), float(stream.frames)
        self._frames = self._decoded(stream)
        self._frame: Any = None

    def _decoded(self, stream: Any) -> Iterator[Any]:
        for packet in self._container.demux(stream):
            try:
                yield from packet.decode()
            except self._errors:
                continue  # a broken packet, whole ones may follow

    def advance(self) -> bool:
        self._frame = next(self._frames, None)
        return self._frame is not None

    def frame(self) -> np.ndarray | None:
        return self._frame.to_ndarray(format='bgr24')

    def close(self) -> None:
        self._container.close()


_READERS: dict[str, Any] = {'OpenCV': OpenCVReader, 'PyAV': _PyAV, 'decord': _Decord}
_MODULES = {'OpenCV': 'cv2', 'PyAV': 'av', 'decord': 'decord'}


def reader_of(path: str) -> Any:
    """The first reader that decodes a frame of a file."""
    if current_process().daemon:  # this one may die, and may have no other
        found: Any = _try_readers(path)
    else:
        (found,) = decode_apart(_try_readers, [path])
    if isinstance(found, Failure):
        found = [told(found)]
    if isinstance(found, str):
        return _READERS[found]
    raise UnreadableError(f'is no video that can be decoded ({"; ".join(found)})')


def _try_readers(path: str) -> str | list[str]:
    """The name of the first reader that can, or what each said."""
    said = []
    for name, kind in _READERS.items():
        if find_spec(_MODULES[name]) is None:
            continue
        try:
            reader = kind(path)
            tries = range(_TRIES)
            if any(reader.advance() and reader.frame() is not None for _ in tries):
                return name
            said.append(f'{name} finds no frame')
        except Exception as error:  # each reader has its own kinds
            said.append(f'{name}: {in_a_line(error)}')
    return said
