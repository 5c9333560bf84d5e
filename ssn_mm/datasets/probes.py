"""What is wrong with one image, annotation or video; all of it is decoded to find out."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

STAMP = re.compile(r'\[\d\d:\d\d:\d\d\] \S+:\d+: ')  # time and source line, in decord's errors
ORIENTATION = 0x0112  # of EXIF; 5..8 lie on their side, and loading an image turns them


@dataclass(frozen=True)
class Fault:
    """What is wrong with a file."""

    kind: str
    file: str
    what: str


@dataclass(frozen=True)
class Labels:
    """How an annotation's values become classes.

    Args:
        table: (256,) uint8; the class that each value becomes.
        classes: Number of classes; None if unknown.
        ignored: The class that no loss counts.
    """

    table: np.ndarray
    classes: int | None
    ignored: int


def label_table(reduce_zero_label: bool, label_map: dict[int, int] | None) -> np.ndarray:
    """The class that each of 256 values becomes, as mmsegmentation's LoadAnnotations maps them."""
    table = np.arange(256, dtype=np.uint8)
    if reduce_zero_label:
        table[0] = 255
        table -= 1
        table[table == 254] = 255
    before = table.copy()
    for old, new in (label_map or {}).items():
        table[before == old] = new % 256
    return table


def probe_image(path: str) -> list[Fault]:
    """Faults of an image."""
    return _decode(path)[0]


def probe_annotated(
    paths: tuple[str, str | None], labels: Labels
) -> tuple[list[Fault], dict[int, int]]:
    """Faults of an image and of its annotation, and the annotation's pixels of each class."""
    image, annotation = paths
    faults, size = _decode(image)
    if annotation is None:
        return faults, {}
    if not os.path.isfile(annotation):
        return [*faults, Fault('no annotation', image, f'{annotation} is missing')], {}
    loaded = _guarded(annotation, lambda: _pixels(annotation))
    if isinstance(loaded, Fault):
        return [*faults, loaded], {}
    if loaded.ndim != 2:
        what = f'has shape {loaded.shape}, not one channel of class ids'
        return [*faults, Fault('label out of range', annotation, what)], {}
    if size is not None and loaded.shape[::-1] != size:
        (h, w), (width, height) = loaded.shape, size
        what = f'is {w}x{h}, its image {image} is {width}x{height}'
        faults.append(Fault('sizes differ', annotation, what))
    low, high = loaded.min(), loaded.max()
    if low < 0 or high > 255:
        what = f'holds values {low}..{high}, but mmsegmentation keeps 8 bits of each'
        return [*faults, Fault('label out of range', annotation, what)], {}
    values = np.bincount(loaded.astype(np.uint8).ravel(), minlength=256)  # pixels of each
    faults += _out_of_range(annotation, values, labels)
    counts = np.bincount(labels.table, weights=values, minlength=256).astype(int)
    return faults, {int(label): int(counts[label]) for label in np.flatnonzero(counts)}


def probe_video(path: str) -> list[Fault]:
    """Faults of a video: first, middle and last frame are decoded."""

    def decode() -> None:
        from decord import VideoReader  # not among the package's requirements

        reader = VideoReader(path, num_threads=1)
        if not len(reader):
            raise ValueError('has no frames')
        for index in sorted({0, len(reader) // 2, len(reader) - 1}):
            reader[index].asnumpy()

    fault = _guarded(path, decode)
    return [] if fault is None else [fault]


def _decode(path: str) -> tuple[list[Fault], tuple[int, int] | None]:
    """Faults of an image, and width and height as the libraries load it."""

    def decode() -> tuple[int, int]:
        data = Path(path).read_bytes()
        with Image.open(BytesIO(data)) as image:
            image.load()  # raises if the file was cut off, where OpenCV fills up with grey
            turned = image.getexif().get(ORIENTATION, 1) >= 5
            size = image.size[::-1] if turned else image.size
        buffer = np.frombuffer(data, np.uint8)
        quick = cv2.IMREAD_REDUCED_COLOR_8 if min(size) >= 8 else cv2.IMREAD_COLOR
        if cv2.imdecode(buffer, quick) is None:
            raise ValueError('OpenCV, with which the pipelines load it, cannot decode it')
        return size

    found = _guarded(path, decode)
    return ([found], None) if isinstance(found, Fault) else ([], found)


def _pixels(path: str) -> np.ndarray:
    with Image.open(path) as image:
        pixels = np.array(image)
    return pixels.squeeze(2) if pixels.shape[2:] == (1,) else pixels


def _guarded(path: str, decode: Callable):
    """What ``decode`` returns, or the fault of the file."""
    if not os.path.isfile(path):
        return Fault('missing file', path, 'is missing')
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # some packages set it, and decoding takes anything
    try:
        if os.path.getsize(path) == 0:
            return Fault('zero bytes', path, 'has zero bytes')
        return decode()
    except Exception as error:  # decoders raise all sorts; none may end the check
        if isinstance(error, UnidentifiedImageError):
            return Fault('unreadable', path, 'is no picture, whatever its name says')
        line = (STAMP.sub('', str(error)).strip().splitlines() or [''])[0]
        return Fault('unreadable', path, f'{type(error).__name__}: {line}')


def _out_of_range(path: str, values: np.ndarray, labels: Labels) -> list[Fault]:
    classes = labels.classes
    if classes is None:
        return []
    wrong = (labels.table >= classes) & (labels.table != labels.ignored) & (values > 0)
    told = [
        f'{values[value]} pixels of value {value}'
        + (f' (class {labels.table[value]})' if labels.table[value] != value else '')
        for value in np.flatnonzero(wrong)
    ]
    if not told:
        return []
    more = f' and {len(told) - 5} other values' if len(told) > 5 else ''
    what = f'{", ".join(told[:5])}{more}; classes are 0..{classes - 1}, ignored is {labels.ignored}'
    return [Fault('label out of range', path, what)]
