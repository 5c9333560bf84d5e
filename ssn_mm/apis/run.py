"""What tools/infer.py does."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..files import write_atomically
from .inputs import Frames, Source, UnreadableError, check_video, find_sources, read_image
from .painting import Painter
from .predictor import Prediction, Predictor

Result = dict[str, Any]
_SHEET = 6  # frames of an action's overlay


def infer(
    predictor: Predictor,
    inputs: Sequence[str],
    out: str | Path,
    batch_size: int = 8,
    top_k: int = 5,
    frames: int | None = None,
) -> list[Result]:
    """Runs a network on pictures and videos, and writes what it says.

    Into ``out``: ``predictions.json``; ``overlays/``, a picture or video an input; for
    segmentation ``labels/``, PNGs (or, of a video, folders of them) with a class a pixel.
    What cannot be read is skipped. After Ctrl-C what was done is there.

    Args:
        predictor: The network.
        inputs: Pictures, videos, folders, numbers of webcams.
        out: Folder to write to.
        batch_size: Pictures, frames or videos at a time.
        top_k: Classes to name.
        frames: Evenly spaced frames of a video that a picture's network sees, all if None; of a
            webcam the first.

    Returns:
        The inputs that could not be read: ``input`` and ``error``.

    Raises:
        FileNotFoundError: An input does not exist; nothing is written.
        ValueError: A number is below 1, or a folder holds nothing to look at.
    """
    for name, number in (('batch_size', batch_size), ('top_k', top_k), ('frames', frames)):
        if number is not None and number < 1:
            raise ValueError(f'{name} must be at least 1, got {number}')
    sources = find_sources(inputs, predictor.task)
    job = _Job(predictor, Path(out), batch_size, top_k, frames)
    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn())
    bar = Progress(
        *columns,
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )
    try:
        with bar:
            done = bar.add_task('inputs', total=len(sources))
            for count in job.work(sources, partial(bar.track, description='frames')):
                bar.advance(done, count)
    finally:
        job.write()
    return job.errors


class _Job:
    """What is to be done, and what was."""

    def __init__(
        self, predictor: Predictor, out: Path, batch_size: int, top_k: int, frames: int | None
    ) -> None:
        self.predictor, self.out, self.batch_size = predictor, out, batch_size
        self.top_k, self.frames = top_k, frames
        self.painter = Painter(predictor.classes, predictor.palette, top_k)
        self.results: list[Result] = []
        self.errors: list[Result] = []

    def work(self, sources: Sequence[Source], track: Callable) -> Iterator[int]:
        """Does everything; yields how many sources are finished since it last did."""
        for batch in _batches(sources, self.batch_size):
            images: list[tuple[Source, np.ndarray | str]] = []
            for source in batch:
                try:
                    if source.kind != 'image' and self.predictor.task != 'action':
                        self._film(source, track)
                    else:
                        images.append((source, self._read(source)))
                except UnreadableError as error:
                    self.errors.append(dict(input=source.path, error=str(error)))
            self._look(images)
            yield len(batch)

    def write(self) -> None:
        """Writes the JSON, if anything was looked at."""
        if not self.results and not self.errors:
            return
        found = dict(
            task=self.predictor.task,
            classes=self.predictor.classes,
            results=self.results,
            errors=self.errors,
        )
        text = json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False)
        write_atomically(self.out / 'predictions.json', text.encode())

    def _read(self, source: Source) -> np.ndarray | str:
        if self.predictor.task != 'action':
            return read_image(source.path)
        if source.kind == 'image':
            raise UnreadableError('is a picture or unknown; the network takes video files')
        if source.kind == 'webcam':
            raise UnreadableError('the network takes whole clips; record the webcam to a file')
        check_video(source.path)
        return source.path

    def _look(self, images: list[tuple[Source, np.ndarray | str]]) -> None:
        """Looks at pictures or clips together; if that fails, at each, to find which it was."""
        try:
            predictions = self.predictor.predict([item for _, item in images], self.batch_size)
        except (ValueError, RuntimeError) as error:
            if len(images) > 1:
                for image in images:
                    self._look([image])
            else:
                what = f'the network fails on it: {error}'
                self.errors.append(dict(input=images[0][0].path, error=what))
            return
        for (source, item), prediction in zip(images, predictions, strict=True):
            self._finish(source, item, prediction)

    def _finish(self, source: Source, item: np.ndarray | str, prediction: Prediction) -> None:
        """Records a picture, or a clip."""
        result: Result = dict(input=source.path, kind=source.kind, **self._words(prediction))
        if isinstance(item, str):
            frames = [frame for _, frame in Frames(source, _SHEET)]
            overlay = self.painter.contact_sheet(frames, prediction)
        else:
            overlay = self.painter.paint(item, prediction)
        result['overlay'] = self._save('overlays', source.name, overlay)
        if prediction.label_map is not None:
            result['label_map'] = self._save('labels', source.name, prediction.label_map)
        self.results.append(result)

    def _film(self, source: Source, track: Callable) -> None:
        """Looks at a video frame by frame."""
        frames = Frames(source, self.frames)
        file = self.out / 'overlays' / f'{source.name}.mp4'
        file.parent.mkdir(parents=True, exist_ok=True)
        result: Result = dict(input=source.path, kind=source.kind, frames_per_second=frames.rate)
        result |= dict(overlay=str(file.relative_to(self.out)), frames=[])
        writer = None
        try:
            for batch in _batches(track(frames, total=frames.count), self.batch_size):
                predictions = self.predictor.predict([f for _, f in batch], self.batch_size)
                for (number, frame), prediction in zip(batch, predictions, strict=True):
                    painted = self.painter.paint(frame, prediction)
                    painted = painted[: len(painted) // 2 * 2, : painted.shape[1] // 2 * 2]
                    if writer is None:
                        code, size = cv2.VideoWriter.fourcc(*'mp4v'), painted.shape[1::-1]
                        writer = cv2.VideoWriter(str(file), code, frames.rate, size)
                    writer.write(np.ascontiguousarray(painted))
                    words: Result = dict(frame=number, **self._words(prediction))
                    if prediction.label_map is not None:
                        name = f'{source.name}/{number:06}'
                        words['label_map'] = self._save('labels', name, prediction.label_map)
                    result['frames'].append(words)
        except KeyboardInterrupt:
            if source.kind != 'webcam':  # that one ends so
                raise
        finally:
            if writer is not None:
                writer.release()
                self.results.append(result)

    def _words(self, prediction: Prediction) -> Result:
        """Names and scores; of a segmentation every class that is there, with its share."""
        order = np.argsort(-prediction.scores, kind='stable')
        regions = prediction.label_map is not None
        order = order[prediction.scores[order] > 0] if regions else order[: self.top_k]
        key, names = 'share' if regions else 'score', self.predictor.classes
        scores = prediction.scores.tolist()
        return dict(
            labels=[dict(label=i, name=names[i]) | {key: scores[i]} for i in order.tolist()]
        )

    def _save(self, folder: str, name: str, picture: np.ndarray) -> str:
        relative = f'{folder}/{name}.png'
        written, data = cv2.imencode('.png', picture)
        assert written  # PNG takes every array of bytes
        write_atomically(self.out / relative, data.tobytes())
        return relative


def _batches(items: Iterable, size: int) -> Iterator[list]:
    items = iter(items)
    while batch := list(islice(items, size)):
        yield batch
