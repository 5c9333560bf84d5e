"""What tools/infer.py does."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..apis.inputs import Source, displayable, find_sources, prepare
from ..apis.painting import Painter
from ..apis.predictor import Prediction, Predictor
from ..apis.readers import UnreadableError
from ..apis.record import Record, Result
from ..apis.videos import Frames
from ..datasets.pipelines import Prepared
from ..files import check_writes, replacing, write_atomically


def infer(
    predictor: Predictor,
    inputs: Sequence[str],
    out: str | Path,
    batch_size: int = 8,
    top_k: int = 5,
    frames: int | None = None,
) -> list[Result]:
    """Runs a network on pictures and videos, writes what it predicts, and prints where.

    Into ``out``: ``predictions.json``; ``overlays/``, a picture or video an input; for
    segmentation ``labels/``, PNGs (or, of a video, folders of them) with a class a pixel.
    What cannot be read is skipped. After Ctrl-C what was done is there.

    Args:
        predictor: The network.
        inputs: Pictures, videos, folders, numbers of webcams; folders of frames, if the config's
            pipeline reads these.
        out: Folder to write to.
        batch_size: Number of pictures, frames or videos at a time.
        top_k: Number of classes to name.
        frames: Number of evenly spaced frames of a video that a network for pictures sees, all if
            None; of a webcam it is the number of first frames.

    Returns:
        The inputs that could not be read: ``input`` and ``error``.

    Raises:
        FileNotFoundError: An input does not exist; nothing is written.
        ValueError: A number is below 1, a folder holds nothing to look at, or a result would be
            written over an input.
    """
    for name, number in (('batch_size', batch_size), ('top_k', top_k), ('frames', frames)):
        if number is not None and number < 1:
            raise ValueError(f'{name} must be at least 1, got {number}')
    out = Path(out)
    sources = find_sources(inputs, predictor.preparation, out)
    written = [out / folder / f'{s.name}.png' for s in sources for folder in ('overlays', 'labels')]
    written += [out / 'overlays' / f'{s.name}.mp4' for s in sources]
    check_writes(
        [out / 'predictions.json', *written],
        [*predictor.files, *(source.path for source in sources)],
    )
    job = _Job(predictor, out, batch_size, top_k, frames)
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
    print(f'Written: {out / "predictions.json"}, {out / "overlays"}')
    for error in job.record.errors:
        print(f'not read: {error["input"]}: {error["error"]}', file=sys.stderr)
    return job.record.errors


class _Job:
    """A run over inputs: what is to be done, and the record of what was."""

    def __init__(
        self, predictor: Predictor, out: Path, batch_size: int, top_k: int, frames: int | None
    ) -> None:
        self.predictor, self.out, self.batch_size = predictor, out, batch_size
        self.top_k, self.frames = top_k, frames
        self.painter = Painter(predictor.classes, predictor.palette, top_k)
        self.record = Record()

    def work(self, sources: Sequence[Source], track: Callable) -> Iterator[int]:
        """Does everything; yields how many sources are finished since it last did."""
        for batch in _batches(sources, self.batch_size):
            reads = self.predictor.preparation.reads
            films = [s for s in batch if s.kind != 'image' and reads == 'pictures']
            others = [source for source in batch if source not in films]
            seen: list[tuple[Source, Prepared]] = []
            for source, item in zip(
                others, prepare(others, self.predictor.preparation), strict=True
            ):
                if isinstance(item, str):
                    self._fail(source, item)
                else:
                    seen.append((source, item))
            if seen:
                self._look(seen)
            for source in films:
                try:
                    self._film(source, track)
                except UnreadableError as error:
                    self._fail(source, str(error))
            yield len(batch)

    def write(self) -> None:
        """Writes the JSON, if anything was looked at."""
        head = dict(task=self.predictor.task, classes=self.predictor.classes)
        self.record.write(self.out / 'predictions.json', **head)

    def _fail(self, source: Source, why: str) -> None:
        self.record.errors.append(dict(input=source.path, error=why))

    def _look(self, images: list[tuple[Source, Prepared]]) -> None:
        """Looks at pictures or clips together; if that fails, at each, to find which it was."""
        try:
            predictions = self.predictor.predict([item for _, item in images], self.batch_size)
        except Exception as error:  # whatever a network makes of an unusual input
            if len(images) > 1:
                for image in images:
                    self._look([image])
            else:
                self._fail(images[0][0], f'the network fails on it: {error}')
            return
        for (source, item), prediction in zip(images, predictions, strict=True):
            self._finish(source, item, prediction)

    def _finish(self, source: Source, item: Prepared, prediction: Prediction) -> None:
        """Records a picture, or a clip."""
        result: Result = dict(input=source.path, kind=source.kind, **self._words(prediction))
        if isinstance(item.loaded, list):
            frames = [displayable(frame)[..., ::-1] for frame in item.loaded]
            overlay = self.painter.contact_sheet(frames, prediction)
        else:
            overlay = self.painter.paint(displayable(item.loaded), prediction)
        result['overlay'] = self._save('overlays', source.name, overlay)
        if prediction.label_map is not None:
            result['label_map'] = self._save('labels', source.name, prediction.label_map)
        self.record.add(result | (dict(note=item.note) if item.note else {}))

    def _film(self, source: Source, track: Callable) -> None:
        """Looks at a video frame by frame."""
        place = int(source.path) if source.kind == 'webcam' else source.path
        frames = Frames(place, self.frames)
        film = _Film(self.out / 'overlays' / f'{source.name}.mp4', frames.rate)
        result: Result = dict(input=source.path, kind=source.kind, frames_per_second=frames.rate)
        result['overlay'] = film.file.relative_to(self.out).as_posix()
        try:
            with film, self.record.growing(result, 'frames') as words:
                for batch in _batches(track(frames, total=frames.count), self.batch_size):
                    for number, prediction in self._see(batch, film):
                        words.add(self._frame(source, number, prediction))
                if frames.note:
                    words.more['note'] = frames.note
        except KeyboardInterrupt:
            if source.kind != 'webcam':  # which ends so
                raise
        except UnreadableError:
            raise
        except Exception as error:  # at a frame; those before it are done
            raise UnreadableError(f'the network fails on it: {error}') from error

    def _see(self, batch: list, film: '_Film') -> Iterator[tuple[int, Prediction]]:
        predictions = self.predictor.predict([frame for _, frame in batch], self.batch_size)
        for (number, frame), prediction in zip(batch, predictions, strict=True):
            film.add(self.painter.paint(frame, prediction))
            yield number, prediction

    def _frame(self, source: Source, number: int, prediction: Prediction) -> Result:
        words: Result = dict(frame=number, **self._words(prediction))
        if prediction.label_map is not None:
            name = f'{source.name}/{number:06}'
            words['label_map'] = self._save('labels', name, prediction.label_map)
        return words

    def _words(self, prediction: Prediction) -> Result:
        """Names and scores; of a segmentation every class that is there, with its part."""
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
        assert written  # PNG takes every array of 8 or 16 bits
        write_atomically(self.out / relative, data.tobytes())
        return relative


class _Film:
    """A video that is written frame by frame; without a frame there is no file."""

    def __init__(self, file: Path, rate: float) -> None:
        self.file = file
        # MPEG-4 has no rate of more digits
        self._rate = round(max(1.0, rate), 3 if rate < 60 else 1)
        self._place = ExitStack()
        self._writer: Any = None
        self._size = (0, 0)

    def __enter__(self) -> '_Film':
        return self

    def __exit__(self, *error: Any) -> None:
        if self._writer is not None:
            self._writer.release()
        self._place.close()  # after Ctrl-C, too, what was written so far is a video

    def add(self, frame: np.ndarray) -> None:
        """Adds a frame, (H, W, 3) uint8 in BGR, at the size of the first."""
        if self._writer is None:
            file = self._place.enter_context(replacing(self.file, '.mp4'))
            self._size = (frame.shape[1] // 2 * 2, frame.shape[0] // 2 * 2)  # the codec's halves
            code = cv2.VideoWriter.fourcc(*'mp4v')
            self._writer = cv2.VideoWriter(str(file), code, self._rate, self._size)
        width, height = self._size
        if frame.shape[1] // 2 * 2 == width and frame.shape[0] // 2 * 2 == height:
            frame = frame[:height, :width]
        else:
            frame = cv2.resize(frame, self._size)
        self._writer.write(np.ascontiguousarray(frame))


def _batches(items: Iterable, size: int) -> Iterator[list]:
    items = iter(items)
    while batch := list(islice(items, size)):
        yield batch
