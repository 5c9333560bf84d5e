"""Finds what is wrong with one sample of a dataset, or one file, by decoding all of it."""

import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from ...commands import in_a_line
from ..damage import damage_in, read_otherwise
from ..reading import Annotation, BrokenSampleError, Fault, checked_reading, load_sample
from .sample_check import SampleCheck

_MEMORY = 2**26  # bytes of a video's frames that are in memory at a time


@dataclass
class Finding:
    """What was found in a sample: faults, notes, and the number of pixels of each class."""

    faults: list[Fault] = field(default_factory=list)
    notes: list[Fault] = field(default_factory=list)
    counts: Counter = field(default_factory=Counter)


@dataclass
class Probe:
    """Reads samples of a dataset by its own pipeline, as a training does.

    Of a video all frames are decoded, one after the other, since a training may draw any of them.

    Args:
        dataset: The dataset, with its pipeline.
        task: 'classification', 'segmentation' or 'video'.
        check: What the network expects of a sample.
        classes: Number of classes of an annotation; None if unknown.
    """

    dataset: Any
    task: str
    check: SampleCheck
    classes: int | None

    def __call__(self, index: int) -> Finding:
        """Finds what is wrong with a sample; the same each time."""
        torch.set_num_threads(1)  # a forked process must not wait for threads it has not
        random.seed(index)
        np.random.seed(index)
        torch.manual_seed(index)
        finding = Finding()
        if self.task == 'video':
            self._look_at_frames(index, finding)
        if not finding.faults:
            self._load(index, finding)
        return finding

    def _load(self, index: int, finding: Finding) -> None:
        info = self.dataset.get_data_info(index)
        annotation, read = info.get('seg_map_path'), list[Annotation]()
        sample: Any = None
        try:
            sample = load_sample(self.dataset, index, self.check, read)
        except BrokenSampleError as error:
            finding.faults.append(Fault(error.kind, error.file, error.what))
            if annotation and error.file != annotation and not read:
                finding.faults += self._annotation_alone(index, read)
        finding.faults = [_of_picture(fault, info) for fault in finding.faults]
        maps = [found.labels for found in read]
        pixels = getattr(getattr(_data_of(sample), 'gt_sem_seg', None), 'data', None)
        if not maps and isinstance(pixels, torch.Tensor):  # a user's own loading step read it
            maps = [pixels.numpy()]
        for labels in maps:
            numbers, pixels_of = np.unique(labels, return_counts=True)
            finding.counts.update(dict(zip(numbers.tolist(), pixels_of.tolist(), strict=True)))
        finding.notes += [note for each in read for note in _notes_on(each, annotation)]
        wrong = [fault for each in read for fault in self._out_of_range(each, annotation)]
        if wrong:  # where the network's check sees a part of the picture
            others = [fault for fault in finding.faults if fault.kind != 'label out of range']
            finding.faults = others + wrong

    def _annotation_alone(self, index: int, read: list[Annotation]) -> list[Fault]:
        """Faults of an annotation whose picture is broken."""
        steps = getattr(getattr(self.dataset, 'pipeline', None), 'transforms', ())
        steps = [s for s in steps if type(s).__name__ == 'LoadAnnotations']
        alone = _Alone(self.dataset, steps)
        try:
            load_sample(alone, index, lambda results: None, read)
        except BrokenSampleError as error:
            annotation = self.dataset.get_data_info(index)['seg_map_path']
            of_picture = error.kind in ('missing file', 'zero bytes') and error.file != annotation
            return [] if of_picture else [Fault(error.kind, annotation, error.what)]
        return []

    def _out_of_range(self, read: Annotation, file: str) -> list[Fault]:
        if self.classes is None:
            return []
        told = []
        for label in np.unique(read.labels):
            if 0 <= label < self.classes or label in self.check.ignored:
                continue
            there = read.labels == label
            raw = read.raw if read.raw is not None and read.raw.shape == there.shape else None
            value = label if raw is None else raw[there][0]
            of_class = '' if value == label else f' (class {label})'
            told.append(f'{there.sum()} pixels of value {value}{of_class}')
        if not told:
            return []
        more = f' and {len(told) - 5} other values' if len(told) > 5 else ''
        ignored = ' and '.join(map(str, self.check.ignored))
        what = (
            f'{", ".join(told[:5])}{more}; classes are 0..{self.classes - 1}, ignored is {ignored}'
        )
        if read.lossy:
            what += '; it is a lossy picture, which changes labels: store annotations as PNG'
        return [Fault('label out of range', file, what)]

    def _look_at_frames(self, index: int, finding: Finding) -> None:
        info = self.dataset.get_data_info(index)
        file = info.get('filename') or info.get('frame_dir')
        broken: list[Fault] = []
        sizes: Counter = Counter()
        count = 0
        try:
            with checked_reading():
                for error, shape, path in self._frames(info):
                    count += 1
                    if error is not None:
                        kind, what = _what_of(error, path)
                        broken.append(Fault(kind, path, what))
                    else:
                        sizes[shape] += 1
        except Exception as error:  # decoders raise all sorts; none may end the check
            kind, what = _what_of(error, file)
            finding.faults.append(Fault(kind, file, what))
            return
        if broken:
            first = broken[0]
            more = f', and {len(broken) - 1} other frames are broken' if broken[1:] else ''
            finding.faults.append(Fault(first.kind, first.file, first.what + more))
        elif not count:
            finding.faults.append(Fault('unreadable', file, 'has no frames'))
        elif len(sizes) > 1:
            told = ', '.join(f'{number} of {w}x{h}' for (h, w), number in sizes.most_common(5))
            finding.faults.append(
                Fault('sizes differ', file, f'has frames of several sizes: {told}')
            )
        elif count == 1:
            finding.notes.append(Fault('one frame', file, 'is a video of a single frame'))
        if 'frame_dir' in info and 'offset' not in info:
            next_file = _frame_file(info, info['total_frames'] + info.get('start_index', 0))
            if os.path.isfile(next_file):
                what = f'is not read: the list has {info["total_frames"]} frames of this folder'
                finding.notes.append(Fault('not read', next_file, what))

    def _frames(self, info: dict) -> Iterator[tuple[Exception | None, tuple[int, int], str]]:
        """Yields for each frame what its decoder raised or None, height and width, and its file.

        Raises:
            Exception: A decoder of whole videos failed.
        """
        steps = getattr(getattr(self.dataset, 'pipeline', None), 'transforms', ())
        opens: Callable = next((s for s in steps if type(s).__name__.endswith('Init')), dict)
        decode = next((s for s in steps if type(s).__name__.endswith('Decode')), None)
        if decode is None:
            raise ValueError('is read by a pipeline without a decoding step')
        opened = opens(dict(info))
        total, start = opened['total_frames'], opened.get('start_index', 0)
        in_files = 'frame_dir' in info
        number, chunk = 0, 1
        while number < total:
            if number and type(opens).__name__ in ('PyAVInit', 'PIMSInit'):
                opened = opens(dict(info))  # these read on from where they are
            frames = np.arange(number, min(number + chunk, total)) + start
            path = _frame_file(info, frames[0]) if in_files else info['filename']
            number += len(frames)
            try:
                images = decode(dict(opened, frame_inds=frames))['imgs']
            except Exception as error:
                if not in_files:
                    raise
                yield error, (0, 0), path
                continue
            yield from ((None, image.shape[:2], path) for image in images)
            if not in_files:
                chunk = max(1, _MEMORY // max(images[0].nbytes, 1))


@dataclass(frozen=True)
class _Alone:
    """A dataset with some of its loading steps."""

    dataset: Any
    steps: list

    def get_data_info(self, index: int) -> dict:
        return self.dataset.get_data_info(index)

    def __getitem__(self, index: int) -> dict:
        results = self.dataset.get_data_info(index)
        for step in self.steps:
            results = step(results)
        return results


def probe_image(path: str) -> list[Fault]:
    """Finds the faults of a picture that OpenCV is to read."""
    if not os.path.isfile(path):
        return [Fault('missing file', path, 'the file is missing')]
    if damage := damage_in(path):
        return [Fault(damage[0], path, damage[1])]
    try:
        picture = cv2.imdecode(np.frombuffer(Path(path).read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:  # larger than it takes
        return [Fault('unreadable', path, in_a_line(error))]
    known = cv2.haveImageReader(path)
    what = read_otherwise(path) if picture is None else ''
    what = what or 'is a broken picture' if known else 'is no picture, whatever its name says'
    return [Fault('unreadable', path, what)] if picture is None else []


def _notes_on(read: Annotation, file: str) -> Iterator[Fault]:
    """What may be wrong with an annotation and cannot be known by its file."""
    if read.lossy:
        what = 'is a lossy picture, JPEG or WebP, which changes labels where classes meet: store '
        yield Fault('lossy labels', file, f'{what}annotations as PNG')
    if read.turned > 1:
        yield Fault(
            'turned picture',
            file,
            f'is not turned, and its picture is, by its EXIF orientation {read.turned}: look '
            'whether it was drawn on the turned one; if not, turn it, or load pictures with '
            "color_type='color_ignore_orientation'",
        )


def _of_picture(fault: Fault, info: dict) -> Fault:
    """Says of a picture that its annotation is missing."""
    if fault.kind == 'missing file' and fault.file == info.get('seg_map_path'):
        return Fault('no annotation', info['img_path'], f'{fault.file} is missing')
    return fault


def _frame_file(info: dict, number: int) -> str:
    """The file of a frame; of optical flow, which has two, the first that is broken."""
    number = int(number) + info.get('offset', 0)
    template = os.path.join(info['frame_dir'], info['filename_tmpl'])
    if info.get('modality') != 'Flow':
        return template.format(number)
    files = [template.format(axis, number) for axis in 'xy']
    return next((f for f in files if not os.path.isfile(f) or damage_in(f)), files[0])


def _what_of(error: Exception, path: str) -> tuple[str, str]:
    if isinstance(error, FileNotFoundError):
        return 'missing file', 'the file is missing'
    return damage_in(path) or ('unreadable', in_a_line(error))


def _data_of(sample: Any) -> Any:
    return sample.get('data_samples') if isinstance(sample, dict) else None
