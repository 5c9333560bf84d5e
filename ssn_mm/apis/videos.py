"""Videos frame by frame, by whichever reader can decode them."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .readers import OpenCVReader, Reader, UnreadableError, reader_of

_RATE = 25.0  # frames per second, where a file does not say it
_LARGEST_RATE = 1000.0
_MOST = 1e8  # frames that a file may state
_ENOUGH = 0.9  # of these, so that it counts as whole
_NOTHING = 'no frame of it can be decoded; the file is damaged, or has none'


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
        self._kind: Any = OpenCVReader if live else reader_of(str(source))
        self._reader: Reader | None = self._open()
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

    def _open(self) -> Reader:
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
