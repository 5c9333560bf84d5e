"""Finds the pictures and videos that a network is to see, and prepares them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from ..commands import in_a_line
from ..datasets.check.probes import probe_image
from ..datasets.pipelines import Preparation, Prepared
from ..datasets.pool import Failure
from ..datasets.reading import checked_reading
from .decoding import decode_apart, told
from .videos import Video

IMAGES = (
    *('.jpg', '.jpeg', '.jfif', '.jp2', '.png', '.bmp', '.gif', '.webp', '.tif', '.tiff'),
    *('.ppm', '.pgm', '.pbm', '.pnm'),
)
VIDEOS = (
    *('.mp4', '.avi', '.mkv', '.mov', '.webm', '.mpg', '.mpeg', '.m4v', '.wmv', '.flv', '.ts'),
    *('.mts', '.3gp', '.ogv'),
)
_LONGEST = 3600  # seconds to read a video from its start to its end


@dataclass(frozen=True)
class Source:
    """An input of a network: a picture, a video, a folder of frames or a webcam.

    Attributes:
        path: Its path, as given or found in a folder; the number of a webcam.
        kind: 'image', 'video', 'frames' (a folder of them) or 'webcam'.
        name: What its results are called, with folders below the given one, without suffix.
    """

    path: str
    kind: str
    name: str


def find_sources(
    inputs: Sequence[str], preparation: Preparation, out: Path | None = None
) -> list[Source]:
    """All inputs that a network takes, in order, each under a name of its own.

    Args:
        inputs: Paths of pictures, videos and folders, which are searched; numbers of webcams.
        preparation: What the network reads.
        out: The folder of results, where an earlier call may have written pictures: those are no
            inputs.

    Raises:
        FileNotFoundError: An input does not exist.
        ValueError: A folder holds nothing that the network takes.
    """
    found: list[Source] = []
    taken: set[str] = set()
    earlier = _results_in(out) if out else []

    def add(path: Path, kind: str, name: str) -> None:
        unique, count = name, 1
        while unique.casefold() in taken:  # not every system tells cases apart
            count += 1
            unique = f'{name}-{count}'
        taken.add(unique.casefold())
        found.append(Source(str(path), kind, unique))

    for text in inputs:
        path = Path(text)
        if path.is_dir():
            for file, kind in _inside(path, preparation, earlier):
                name = file.relative_to(path) if file != path else Path(path.resolve().name)
                add(file, kind, (name if kind == 'frames' else name.with_suffix('')).as_posix())
        elif path.is_file():
            add(path, _kind(path, preparation), path.stem)
        elif text.isdecimal():
            add(path, 'webcam', f'webcam{text}')
        else:
            raise FileNotFoundError(f'no file or folder {text!r}, and no number of a webcam')
    return found


def _kind(file: Path, preparation: Preparation) -> str:
    """The kind of a file; a file whose suffix says nothing is what the network takes."""
    suffix, films = file.suffix.lower(), preparation.reads == 'videos'
    stills = [ending for ending in IMAGES if ending != '.gif']
    return 'video' if suffix in VIDEOS or (films and suffix not in stills) else 'image'


def _results_in(out: Path) -> list[Path]:
    """The folders of an earlier call's pictures, if there was one."""
    there = (out / 'predictions.json').is_file()
    return [(out / name).resolve() for name in ('overlays', 'labels')] if there else []


def _inside(
    folder: Path, preparation: Preparation, without: Sequence[Path]
) -> list[tuple[Path, str]]:
    """The inputs in a folder with their kinds, but for those in the folders ``without``."""
    if preparation.reads == 'frames':
        folders = [folder, *sorted(f for f in folder.rglob('*') if f.is_dir())]
        files = [f for f in folders if preparation.frames_in(f)]
        what = f'folder of frames, the first of them {preparation.frame_name(0)}'
    else:
        wanted = VIDEOS if preparation.reads == 'videos' else IMAGES + VIDEOS
        there = (f for f in folder.rglob('*') if f.suffix.lower() in wanted and not f.is_dir())
        files = sorted(there)
        what = f'{preparation.reads} ({", ".join(wanted)})'
    if without and not any(folder.resolve().is_relative_to(place) for place in without):
        places = [str(place) + os.sep for place in without]
        files = [f for f in files if not str(f.resolve()).startswith(tuple(places))]
    if not files:
        raise ValueError(f"'{folder}' holds no {what}")
    return [(f, 'frames' if f.is_dir() else _kind(f, preparation)) for f in files]


def prepare(sources: Sequence[Source], preparation: Preparation) -> list[Prepared | str]:
    """What the network sees of each input by the config's own steps, or why it sees nothing.

    A video that the pipeline's reader cannot decode is read by the others that are installed.
    """
    if preparation.reads != 'videos':
        return [_prepare_one(source, preparation) for source in sources]
    paths = [source.path for source in sources if source.kind == 'video']
    films = dict(zip(paths, _prepare_videos(paths, preparation), strict=True))
    return [films.get(source.path) or _mistaken(source, 'videos') for source in sources]


def _prepare_one(source: Source, preparation: Preparation) -> Prepared | str:
    reads = preparation.reads
    if reads != {'image': 'pictures'}.get(source.kind, source.kind):
        return _mistaken(source, reads)
    try:
        with checked_reading():
            return preparation(source.path)
    except Exception as error:  # decoders raise all sorts
        faults = probe_image(source.path) if reads == 'pictures' else []
        return faults[0].what if faults else in_a_line(error)


def _prepare_videos(paths: list[str], preparation: Preparation) -> list[Prepared | str]:
    found = decode_apart(preparation, paths)
    failed = [path for path, one in zip(paths, found, strict=True) if isinstance(one, Failure)]
    again = partial(_read_otherwise, preparation=preparation)
    others = dict(zip(failed, decode_apart(again, failed, _LONGEST), strict=True))
    results: list[Prepared | str] = []
    for path, one in zip(paths, found, strict=True):
        other = others.get(path)
        why = f'the reader of the pipeline: {told(one)}' if other is not None else ''
        if isinstance(other, Failure):
            results.append(f'{told(other)}; {why}')
        elif other is not None:
            note = '; '.join(filter(None, (f'{why}; another one was used', other.note)))
            results.append(replace(other, note=note))
        else:
            results.append(one)
    return results


def _read_otherwise(path: str, preparation: Preparation) -> Prepared:
    video = Video(path)
    return replace(preparation(path, video), note=video.note)


def _mistaken(source: Source, reads: str) -> str:
    if source.kind == 'webcam':
        return 'the network takes whole clips; record the webcam to a file'
    kind = {'image': 'a picture or unknown', 'frames': 'a folder'}.get(source.kind, 'a video')
    takes = {'videos': 'video files', 'frames': 'folders of frames'}.get(reads, reads)
    return f'is {kind}; the network takes {takes}'


def displayable(image: np.ndarray) -> np.ndarray:
    """Any picture as (H, W, 3) uint8, to look at.

    Args:
        image: A picture, (H, W) or (H, W, C), of which the first three channels are shown. One
            that does not have 8 bits is stretched from its smallest to its largest value.
    """
    image = np.nan_to_num(np.asarray(image), posinf=0, neginf=0)
    image = image[..., None] if image.ndim == 2 else image
    image = image[..., [0, 0, 0]] if image.shape[2] < 3 else image[..., :3]
    if image.dtype == np.uint8:
        return np.ascontiguousarray(image)
    low, high = float(image.min()), float(image.max())
    if image.dtype.kind == 'f' and low >= 0 and 1 < high <= 255:
        return image.round().astype(np.uint8)  # 8 bits as floats
    scaled = (image.astype(np.float64) - low) * (255 / ((high - low) or 1))
    return scaled.round().astype(np.uint8)
