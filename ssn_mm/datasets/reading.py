"""Reads samples as a training does, and refuses what would silently be read wrongly."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..commands import in_a_line
from .damage import damage_in, damage_of, read_otherwise
from .decoded import Decoded, is_lossy, orientation_applied


@dataclass(frozen=True)
class Fault:
    """What is wrong with a file."""

    kind: str
    file: str
    what: str


class FaultError(ValueError):
    """A sample has a fault of a ``kind``, in a ``file`` if that is known."""

    def __init__(self, kind: str, what: str, file: str = '') -> None:
        super().__init__(what)
        self.kind, self.file = kind, file


class BrokenSampleError(ValueError):
    """A sample cannot be used; the message says which file and why, attributes hold the parts."""

    def __init__(self, message: str, kind: str = '', file: str = '', what: str = '') -> None:
        super().__init__(message)
        self.kind, self.file, self.what = kind, file, what


@dataclass(frozen=True)
class Annotation:
    """A label map that was read.

    Args:
        labels: The map as the loading step gives it, (H, W).
        raw: The map as the file has it, before labels are mapped; None if that was not seen.
        lossy: Whether the file's format does not keep values as they are.
        turned: The EXIF orientation by which its picture, of the same size, was turned; else 1.
    """

    labels: np.ndarray
    raw: np.ndarray | None
    lossy: bool = False
    turned: int = 1


@contextmanager
def checked_reading(found: list[Annotation] | None = None) -> Iterator[None]:
    """Within it, mmcv refuses what it would otherwise silently read wrongly.

    These are pictures that are cut short, wherever their bytes come from; and annotations of
    another size than their picture, of several channels, or of values that 8 bits do not hold.
    What nothing reads is not looked at.

    Args:
        found: Takes the annotations that are read, in order.

    Raises:
        FaultError: From the loading step, which may handle it (``ignore_empty``).
    """
    names = ('mmcv', 'mmcv.image', 'mmcv.image.io')
    modules = [sys.modules[name] for name in names if name in sys.modules]
    if not modules:
        yield
        return
    reading = _Reading(modules[-1].imfrombytes, found)
    changed: list[tuple[Any, str, Any]] = [(m, 'imfrombytes', reading.imfrombytes) for m in modules]
    if steps := sys.modules.get('mmcv.transforms.loading'):
        for step, key, check in (
            (steps.LoadImageFromFile, 'img_path', reading.keep_picture),
            (steps.LoadAnnotations, 'seg_map_path', reading.check_annotation),
        ):
            changed.append((step, 'transform', _naming(step.transform, key, reading.last, check)))
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in changed]
    try:
        for owner, name, value in changed:
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


class _Reading:
    """What is put in the place of mmcv's reading, and what it has read last.

    Args:
        decode: mmcv's ``imfrombytes``.
        found: Takes the annotations that are read; None keeps none.

    Attributes:
        last: The picture that the current loading step has decoded, if it has.
    """

    def __init__(self, decode: Callable, found: list[Annotation] | None) -> None:
        self.decode, self.found = decode, found
        self.last: list[Decoded] = []
        self._pictures: dict[str, Decoded] = {}  # the last picture, by its file

    def imfrombytes(self, content: bytes, *args: Any, **kwargs: Any) -> np.ndarray:
        """Decodes a whole picture, and remembers how."""
        if why := damage_of(content):
            raise FaultError('unreadable', why)
        pixels = self.decode(content, *args, **kwargs)
        flag, *others = args or [kwargs.get('flag', 'color')]
        options = {key: value for key, value in kwargs.items() if key != 'flag'}
        again = lambda flag: self.decode(content, flag, *others, **options)  # noqa: E731
        self.last[:] = [Decoded(content, pixels, flag, again)]
        return pixels

    def keep_picture(self, results: dict) -> None:
        """Remembers a sample's picture for its annotation."""
        self._pictures.clear()
        if self.last:
            self._pictures[results.get('img_path', '')] = replace(self.last[0], pixels=None)

    def check_annotation(self, results: dict) -> None:
        """Checks a sample's annotation beside its picture."""
        if not isinstance(results.get('gt_seg_map'), np.ndarray):
            return
        own = next(iter(self.last), Decoded())
        picture = self._pictures.get(results.get('img_path', ''), Decoded())
        _check_annotation(results, own.pixels, picture)
        if self.found is not None:  # later steps write into it
            labels = results['gt_seg_map'].copy()
            lossy, turned = is_lossy(own.content), orientation_applied(picture)
            self.found.append(Annotation(labels, own.pixels, lossy, turned))


def _naming(
    load: Callable, key: str, decoded: list, check: Callable[[dict], None] | None = None
) -> Callable:
    """A loading step's ``transform`` that says which file it was that it could not read."""

    def transform(step: Any, results: dict) -> dict | None:
        file = results.get(key)
        decoded.clear()
        try:
            loaded = load(step, results)
            if loaded is not None and check is not None:
                check(loaded)
            return loaded
        except (FileNotFoundError, KeyError):  # these say what they miss
            raise
        except Exception as error:
            kind = error.kind if isinstance(error, FaultError) else 'unreadable'
            if not isinstance(file, str) or (isinstance(error, FaultError) and error.file):
                raise
            what, own = in_a_line(error), isinstance(error, FaultError)
            if key == 'img_path' and not own and (how := read_otherwise(file)):
                what = f'{how} ({what})'
            raise FaultError(*(damage_in(file) or (kind, what)), file) from error

    return transform


def load_sample(
    dataset: Any,
    index: int,
    check: Callable[[Any], None],
    found: list[Annotation] | None = None,
) -> Any:
    """A sample of a dataset after its pipeline, read under :func:`checked_reading`.

    Args:
        dataset: A dataset of any of the libraries.
        index: Index of the sample.
        check: Raises a ValueError for a sample that is wrong.
        found: Takes the annotations that are read.

    Raises:
        BrokenSampleError: Whatever went wrong; names the file, and says why.
    """
    try:
        with checked_reading(found):
            sample = dataset[index]
        check(sample)
    except Exception as error:  # whatever a decoder makes of a broken file
        kind, file, what = _explain(error, dataset, index)
        raise BrokenSampleError(f'{file}: {what}', kind, file, what) from error
    return sample


def files_of(dataset: Any, index: int) -> list[str]:
    """The files and folders that a sample names; none if its dataset does not tell."""
    try:
        info = dataset.get_data_info(index)
    except Exception:  # it may be what is broken
        return []
    named = {key: value for key, value in info.items() if isinstance(value, str | os.PathLike)}
    return [os.fspath(named[key]) for key in named if named[key] and _names_file(key)]


def _explain(error: Exception, dataset: Any, index: int) -> tuple[str, str, str]:
    """Kind of a fault, its file and what is wrong with it."""
    files = files_of(dataset, index)
    if isinstance(error, FileNotFoundError) and error.filename:
        return 'missing file', str(error.filename), 'the file is missing'
    if isinstance(error, FaultError) and error.file:
        return error.kind, error.file, str(error)
    for file in files:
        inside = sorted(map(str, Path(file).glob('*'))) if os.path.isdir(file) else [file]
        for each in inside:
            if damage := damage_in(each):
                return damage[0], each, damage[1]
    kind = error.kind if isinstance(error, FaultError) else 'unreadable'
    return kind, ', '.join(files) or f'sample {index}', in_a_line(error)


def _names_file(key: str) -> bool:
    return key in ('filename', 'frame_dir') or '_path' in key


def _check_annotation(results: dict, raw: np.ndarray | None, picture_of: Decoded) -> None:
    labels = results['gt_seg_map']
    file = str(results.get('seg_map_path') or '')
    size, expected = labels.shape[:2], tuple(results.get('ori_shape') or labels.shape)[:2]
    if labels.ndim != 2:
        what = f'has shape {labels.shape}, not one channel of class ids'
        raise FaultError('label out of range', what, file)
    if size != expected:
        (h, w), (height, width) = size, expected
        picture = results.get('img_path') or ''
        what = f'is {w}x{h}, its image {picture} is {width}x{height}'
        turned = orientation_applied(picture_of)
        if turned > 1 and size == expected[::-1]:
            what += (
                f', turned by its EXIF orientation {turned}: turn the annotation, too, or load '
                f"pictures with color_type='{picture_of.flag}_ignore_orientation'"
            )
        raise FaultError('sizes differ', what, file)
    if raw is not None and raw.dtype != np.uint8 and raw.size:
        low, high = raw.min(), raw.max()
        if low < 0 or high > 255:
            what = f'holds values {low}..{high}, but mmsegmentation keeps 8 bits of each'
            raise FaultError('label out of range', what, file)
