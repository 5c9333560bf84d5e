"""Finds and reads what a network is to look at."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..datasets.probes import probe_image, probe_video

IMAGES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff', '.ppm', '.pgm')
VIDEOS = ('.mp4', '.avi', '.mkv', '.mov', '.webm', '.mpg', '.mpeg', '.m4v')


class UnreadableError(ValueError):
    """A file that is no picture or video, or a broken one."""


@dataclass(frozen=True)
class Source:
    """What to look at.

    Attributes:
        path: As given, or found in a folder; a number for a webcam.
        kind: 'image', 'video' or 'webcam'.
        name: What its results are called, with folders below the given one, without suffix.
    """

    path: str
    kind: str
    name: str


def find_sources(inputs: Sequence[str], task: str) -> list[Source]:
    """Every picture and video, folders searched through, in order and under a name of its own.

    Raises:
        FileNotFoundError: An input does not exist.
        ValueError: A folder holds nothing that the task takes.
    """
    found: list[Source] = []
    taken: set[str] = set()

    def add(path: Path, kind: str, name: str) -> None:
        unique, count = name, 1
        while unique in taken:
            count += 1
            unique = f'{name}-{count}'
        taken.add(unique)
        found.append(Source(str(path), kind, unique))

    wanted = VIDEOS if task == 'action' else IMAGES
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            files = sorted(f for f in path.rglob('*') if f.suffix.lower() in wanted)
            if not files:
                raise ValueError(
                    f'{text!r} holds no {"videos" if task == "action" else "pictures"} '
                    f'({", ".join(wanted)})'
                )
            for file in files:
                name = file.relative_to(path).with_suffix('').as_posix()
                add(file, 'video' if task == 'action' else 'image', name)
        elif path.is_file():
            add(path, 'video' if path.suffix.lower() in VIDEOS else 'image', path.stem)
        elif text.isdecimal():
            add(path, 'webcam', f'webcam{text}')
        else:
            raise FileNotFoundError(f'no file or folder {text!r}, and no number of a webcam')
    return found


def read_image(path: str) -> np.ndarray:
    """(H, W, 3) uint8 in BGR, turned as EXIF says, as OpenMMLab's pipelines load it.

    Raises:
        UnreadableError: It is broken, cut off, or no picture.
    """
    if faults := probe_image(path):
        raise UnreadableError(faults[0].what)
    image = cv2.imdecode(np.frombuffer(Path(path).read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None  # probe_image has decoded it
    return image


def check_video(path: str) -> None:
    """Raises UnreadableError if a video cannot be decoded or has no frames."""
    if faults := probe_video(path):
        raise UnreadableError(faults[0].what)


class Frames:
    """The frames of a video file or webcam, (H, W, 3) uint8 in BGR, with their numbers.

    Args:
        source: A 'video' or 'webcam'.
        limit: So many evenly spaced frames, of a webcam the first; all if None.

    Attributes:
        rate: Frames per second of what is yielded.
        count: How many there will be; None for a webcam without a limit.

    Raises:
        UnreadableError: It cannot be opened, or has no frames.
    """

    def __init__(self, source: Source, limit: int | None = None) -> None:
        live = source.kind == 'webcam'
        self._capture = cv2.VideoCapture(int(source.path) if live else source.path)
        if not self._capture.isOpened():
            self._capture.release()
            raise UnreadableError(
                'there is no such webcam' if live else 'OpenCV cannot decode it as a video'
            )
        total = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.rate = self._capture.get(cv2.CAP_PROP_FPS) or 25.0
        self.count = limit
        self._wanted: set[int] | None = None
        if not live:
            self.count = min(limit or total, total)
            self._wanted = set(np.linspace(0, total - 1, self.count).round().astype(int).tolist())
            self.rate = max(1.0, self.rate * self.count / total) if total else self.rate

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        number = seen = 0
        try:
            while self.count is None or seen < self.count:
                if not self._capture.grab():
                    break
                if self._wanted is None or number in self._wanted:
                    _, frame = self._capture.retrieve()
                    yield number, frame
                    seen += 1
                number += 1
        finally:
            self._capture.release()
        if not seen:
            raise UnreadableError('has no frames')
