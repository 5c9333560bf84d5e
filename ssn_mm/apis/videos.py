"""Videos frame by frame, by whichever reader can decode them."""

import math
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from multiprocessing import current_process
from typing import Any, Protocol

import cv2
import numpy as np

from ..commands import in_a_line
from ..datasets.pool import Failure
from .decoding import decode_apart, told

_RATE = 25.0  # frames per second, where a file does not say it
_LARGEST_RATE = 1000.0
_MOST = 1e8  # frames that a file may state
_ENOUGH = 0.9  # of these, so that it counts as whole
_NOTHING = 'no frame of it can be decoded; the file is damaged, or has none'
_TRIES = 100  # frames that may be broken before the first whole one


class UnreadableError(ValueError):
    """A file is no picture or video, or a broken one."""


class _Reader(Protocol):
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


class _OpenCV:
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


_READERS: dict[str, Any] = {'OpenCV': _OpenCV, 'PyAV': _PyAV, 'decord': _Decord}
_MODULES = {'OpenCV': 'cv2', 'PyAV': 'av', 'decord': 'decord'}


class Frames:
    """The frames of a video file or webcam, (H, W, 3) uint8 in BGR, with their numbers.

    What a file says of its length is not relied upon: with a limit its frames are counted first.
    Frames that nothing can decode are left out. One frame at a time is in memory.

    Args:
        source: Path of a video, or number of a webcam.
        limit: Number of frames, evenly spaced, of a webcam the first; all if None.

    Attributes:
        rate: Frames per second of what is yielded.
        count: Number of frames that there will be, as far as is known.
        note: Filled after the last frame: that there were far fewer than the file says, or ''.

    Raises:
        UnreadableError: No reader can decode it, or it has no frames.
    """

    def __init__(self, source: str | int, limit: int | None = None) -> None:
        self._source, self._limit = source, limit
        live = isinstance(source, int)
        self._kind: Any = _OpenCV if live else _reader_of(str(source))
        self._reader: _Reader | None = self._open()
        rate = self._reader.rate
        self.rate = rate if 0 < rate <= _LARGEST_RATE else _RATE  # NaN fails both
        self.count, self.note = limit, ''
        stated = self._reader.stated
        self._stated = int(stated) if math.isfinite(stated) and 0 < stated < _MOST else None
        self._wanted: set[int] | None = None
        if not live and limit is not None:
            total = self.total()
            self.count = min(limit, total)
            self._wanted = set(np.linspace(0, total - 1, self.count).round().astype(int).tolist())
            self.rate = max(1.0, self.rate * self.count / total)
        elif not live:
            self.count = self._stated

    def total(self) -> int:
        """The number of frames in the file, by decoding all of it; raises where there is none."""
        reader, number = self._open(), 0
        while reader.advance():
            number += 1
        reader.close()
        if not number:
            raise UnreadableError(_NOTHING)
        self._compare(number)
        return number

    def _compare(self, number: int) -> None:
        # what a healthy file says may be off by a few
        if self._stated and number < _ENOUGH * self._stated:
            self.note = f'ends after {number} of the {self._stated} frames that it states'

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        reader, self._reader = self._reader or self._open(), None
        number, seen = -1, 0
        try:
            while self._limit is None or seen < self._limit:
                if not reader.advance():
                    self._compare(number + 1)
                    break
                number += 1
                if self._wanted is not None and number not in self._wanted:
                    continue
                frame = reader.frame()
                if frame is not None:
                    yield number, frame
                    seen += 1
        finally:
            reader.close()
        if not seen:
            raise UnreadableError(_NOTHING)

    def _open(self) -> _Reader:
        try:
            return self._kind(self._source)
        except UnreadableError:
            raise UnreadableError('there is no such webcam') from None


class Video:
    """A video with the methods of decord's ``VideoReader`` that decode by number.

    Its frames are counted and found by decoding it from the start.

    Args:
        path: The file.

    Raises:
        UnreadableError: No reader can decode it.
    """

    def __init__(self, path: str) -> None:
        self._path, frames = path, Frames(path)
        self._rate, self._total = frames.rate, frames.total()
        self.note = frames.note

    def __len__(self) -> int:
        return self._total

    def get_avg_fps(self) -> float:
        return self._rate

    def get_batch(self, indices: Sequence[int]) -> '_Batch':
        """Frames in RGB; in the place of a broken one stands the whole one before it."""
        wanted = sorted(set(map(int, indices)))
        found: dict[int, np.ndarray] = {}
        last: np.ndarray | None = None
        for number, frame in Frames(self._path):
            while wanted and wanted[0] < number and last is not None:
                found[wanted.pop(0)] = last
            if not wanted:
                break
            last = frame
            if wanted[0] <= number:
                found[wanted.pop(0)] = frame
        found |= {index: last for index in wanted if last is not None}
        return _Batch(np.stack([found[int(index)][..., ::-1] for index in indices]))


class _Batch:
    def __init__(self, frames: np.ndarray) -> None:
        self._frames = frames

    def asnumpy(self) -> np.ndarray:
        return self._frames


def _reader_of(path: str) -> Any:
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
