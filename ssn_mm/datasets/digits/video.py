"""The digits dataset for video, where a class is a way to move, and its class for mmaction2."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmaction.datasets import VideoDataset
from mmaction.registry import DATASETS

from ...renamed import refuse_renamed
from .drawing import draw_background, split_glyphs
from .writing import TASK, VERSION, checked, draws, write_once

MOTIONS = {  # which part of a pose runs, and in which direction; y points down
    'move_left': (0, -1),
    'move_right': (0, 1),
    'move_up': (1, -1),
    'move_down': (1, 1),
    'turn_clockwise': (2, 1),
    'turn_counterclockwise': (2, -1),
    'grow': (3, 1),
    'shrink': (3, -1),
}
FOLDERS = {'training': 'train', 'validation': 'val'}  # Kinetics' names of the splits
LOOP = (14, 22)  # frames that a motion takes before it starts over
WAY = 0.4  # part of the picture that a digit moves through
HEIGHTS = (0.28, 0.6)  # least and largest height of a digit, the picture's being 1
FPS = 15

__getattr__ = refuse_renamed(__name__, {'write_video_world': 'write_videos'})


def write_videos(
    root: str | Path = 'data/digits/kinetics',
    seed: int = 0,
    num_train: int = 1600,
    num_val: int = 400,
    size: int = 64,
    frames: int = 24,
    progress: bool = True,
    tuning: bool = False,
) -> Path:
    """Writes the digits dataset for video in Kinetics' layout, unless it is there already.

    ``root`` then holds ``videos_{train,val}/MOTION/*.mp4``, as many of each motion as of the
    others (one more of the first, where the number is not divisible by eight), the lists
    ``digits_{train,val}_list_videos.txt`` with a line `FILE LABEL` a video, and ``meta.json``. Any
    number of processes may call this at once: one writes, the others wait for it.

    Args:
        root: Folder of this dataset alone, the ``data_root`` of its class.
        seed: 0..2**32-1; the glyphs of each split and everything in the videos follow from it.
        num_train: Number of training videos.
        num_val: Number of validation videos, of glyphs that no training video shows.
        size: Height and width of a video in pixels, a multiple of 32; digits grow with it.
        frames: Number of frames of a video, at least 2.
        progress: Whether the process that writes shows a progress bar (on stderr).
        tuning: Whether both splits are of the training glyphs alone, for finding recipes; see
            :func:`.drawing.split_glyphs`.

    Returns:
        ``root`` as a Path.

    Raises:
        ValueError: An argument is out of range, or ``root`` holds something else, such as a
            dataset written with other settings.
        OSError: ``root`` cannot be written.
    """
    settings = {
        TASK: 'video',
        'version': VERSION,
        'seed': checked('seed', seed, 0, 2**32 - 1),
        'num_train': checked('num_train', num_train, 1),
        'num_val': checked('num_val', num_val, 1),
        'size': checked('size', size, 32),
        'frames': checked('frames', frames, 2),
    }
    if size % 32:  # decord takes some other widths, such as 48, for four channels (its issue 336)
        raise ValueError(f'size must be a multiple of 32, got {size}')

    if tuning:
        settings['tuning'] = True  # absent else, as in folders of 0.1

    def fill(folder: Path) -> None:
        glyphs = split_glyphs(seed, tuning)
        lists: dict[str, list[str]] = {name: [] for name in FOLDERS.values()}
        for name in lists:
            for motion in MOTIONS:
                (folder / f'videos_{name}' / motion).mkdir(parents=True)
        for split, i, rng in draws(seed, num_train, num_val, progress, tuning):
            name, label = FOLDERS[split], i % len(MOTIONS)
            motion = list(MOTIONS)[label]
            file = f'{motion}/digits_{name}_{i:08d}.mp4'
            video = draw_video(rng, rng.choice(glyphs[split][0]), motion, size, frames)
            _write_video(folder / f'videos_{name}' / file, video)
            lists[name].append(f'{file} {label}\n')
        for name, lines in lists.items():
            (folder / f'digits_{name}_list_videos.txt').write_bytes(''.join(lines).encode())

    return write_once(root, settings, fill)


def draw_poses(rng: np.random.Generator, motion: str, frames: int) -> np.ndarray:
    """Draws how a digit lies in each frame: x, y, angle and size, each as a phase in [0, 1).

    The phase that a motion drives runs evenly and starts over at its end; the others rest. All
    begin anywhere. So a pose of any one frame, the first too, is uniformly distributed whatever
    the motion is: only from several frames can it be told.

    Returns:
        (frames, 4).
    """
    axis, direction = MOTIONS[motion]
    start, loop = rng.random(4), rng.uniform(*LOOP)
    return (start + np.outer(np.arange(frames), direction * np.eye(4)[axis] / loop)) % 1


def draw_video(
    rng: np.random.Generator, glyph: np.ndarray, motion: str, size: int, frames: int
) -> np.ndarray:
    """Draws a glyph (8, 8) that moves over a texture.

    Light, contrast and colours are drawn apart from the motion, so that they tell nothing of it.

    Returns:
        Frames (frames, size, size, 3), uint8 RGB.
    """
    background = draw_background(rng, size)
    ink = rng.uniform(0.7, 1.1) + 0.2 * rng.standard_normal(3, np.float32)
    ink *= rng.choice([-1, 1])
    cover = rng.uniform(0.7, 1)  # the texture shines through
    threshold = rng.uniform(0.2, 0.4)  # pens of several widths
    contrast = rng.uniform(0.6, 1)
    bare = 255 * (rng.uniform(0, 1 - contrast) + contrast * (background + 1) / 2)
    change = 255 * contrast * (ink - cover * background) / 2  # where the stroke is opaque
    video = np.empty((frames, size, size, 3), np.uint8)
    for frame, pose in zip(video, draw_poses(rng, motion, frames), strict=True):
        affine = _placement(pose, size)
        stroke = cv2.warpAffine(glyph, affine, (size, size), flags=cv2.INTER_CUBIC)
        stroke = np.clip((stroke - threshold) / 0.25, 0, 1)
        frame[:] = np.clip(bare + stroke[..., None] * change, 0, 255)
    return video


def _placement(pose: np.ndarray, size: int) -> np.ndarray:
    """The affine map (2, 3) from a glyph's pixels to those of the picture."""
    x, y, turn, growth = pose
    low, high = HEIGHTS
    scale = size / 8 * low * (high / low) ** growth
    cos, sin = np.cos(2 * np.pi * turn), np.sin(2 * np.pi * turn)
    matrix = scale * np.array([[cos, -sin], [sin, cos]])  # clockwise, as y points down
    centre = size * (0.5 + WAY * (np.array([x, y]) - 0.5)) - 0.5
    return np.column_stack([matrix, centre - matrix @ [3.5, 3.5]])


def _write_video(path: Path, video: np.ndarray) -> None:
    size = video.shape[2], video.shape[1]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*'mp4v'), FPS, size)
    for frame in video:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    # OpenCV raises nothing, neither where it has no encoder nor on a full disk
    reader = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG) if path.exists() else None
    written = int(reader.get(cv2.CAP_PROP_FRAME_COUNT)) if reader else 0
    if written != len(video):
        raise OSError(f'OpenCV wrote {written} of {len(video)} frames of {path.name}')


@DATASETS.register_module()
class DigitsVideoDataset(VideoDataset):
    """Handwritten digits that move, written to ``data_root`` when first loaded.

    Args:
        data_root: The folder that :func:`write_videos` writes.
        seed: What the videos follow from.
        num_train: Number of training videos.
        num_val: Number of validation videos.
        size: Height and width of a video in pixels.
        frames: Number of frames of a video.
        tuning: Whether it is for finding recipes, of training glyphs alone.
        **kwargs: Arguments of ``VideoDataset``; ``ann_file`` and ``data_prefix`` say the split.
    """

    METAINFO = {'classes': tuple(MOTIONS)}  # noqa: RUF012, mmengine's own form

    def __init__(
        self,
        data_root: str = 'data/digits/kinetics',
        seed: int = 0,
        num_train: int = 1600,
        num_val: int = 400,
        size: int = 64,
        frames: int = 24,
        tuning: bool = False,
        **kwargs,
    ) -> None:
        self._settings: dict[str, Any] = dict(
            seed=seed, num_train=num_train, num_val=num_val, size=size, frames=frames, tuning=tuning
        )
        super().__init__(data_root=data_root, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Writes the videos if need be: here, so that ``lazy_init`` leaves the disk alone."""
        write_videos(self.data_root, **self._settings)
        return super().load_data_list()
