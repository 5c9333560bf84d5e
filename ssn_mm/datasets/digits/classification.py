"""The digits dataset for image classification: its pictures, and its class for mmpretrain."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmpretrain.datasets import ImageNet
from mmpretrain.registry import DATASETS

from .drawing import CLASSES, draw_background, expose, place_glyph, split_glyphs
from .writing import TASK, VERSION, checked, draws, write_image, write_once

FOLDERS = {'training': 'train', 'validation': 'val'}  # ImageNet's names of the splits


def write_classification(
    root: str | Path = 'data/digits/imagenet',
    seed: int = 0,
    num_train: int = 4000,
    num_val: int = 1000,
    size: int = 64,
    progress: bool = True,
    tuning: bool = False,
) -> Path:
    """Writes the digits dataset for classification as ImageNet lies on disk, unless it is there.

    ``root`` then holds ``{train,val}/digit{0..9}/*.JPEG``, as many of each class as of the others
    (one more of the first, where the number is not divisible by ten), and ``meta.json``. Any
    number of processes may call this at once: one writes, the others wait for it.

    Args:
        root: Folder of this dataset alone, the ``data_root`` of its class.
        seed: 0..2**32-1; the glyphs of each split and everything in the pictures follow from it.
        num_train: Number of training pictures, at least 10.
        num_val: Number of validation pictures, at least 10, of glyphs that no training picture
            shows.
        size: Height and width of a picture in pixels, at least 40; digits grow with it.
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
        TASK: 'classification',
        'version': VERSION,
        'seed': checked('seed', seed, 0, 2**32 - 1),
        'num_train': checked('num_train', num_train, 10),  # mmpretrain wants a folder a class
        'num_val': checked('num_val', num_val, 10),
        'size': checked('size', size, 40),
    }

    if tuning:
        settings['tuning'] = True  # absent else, as in folders of 0.1

    def fill(folder: Path) -> None:
        glyphs = split_glyphs(seed, tuning)
        for name in FOLDERS.values():
            for digit in range(10):
                (folder / name / f'digit{digit}').mkdir(parents=True)
        for split, i, rng in draws(seed, num_train, num_val, progress, tuning):
            (images, digits), name, digit = glyphs[split], FOLDERS[split], i % 10
            image = draw_picture(rng, images[rng.choice(np.flatnonzero(digits == digit))], size)
            path = folder / name / f'digit{digit}' / f'digits_{name}_{i:08d}.JPEG'
            write_image(path, image[..., ::-1])  # to BGR

    return write_once(root, settings, fill)


def draw_picture(rng: np.random.Generator, glyph: np.ndarray, size: int) -> np.ndarray:
    """Draws one glyph (8, 8) on a texture with strokes that mean nothing.

    Those are curved and as wide as a digit's, but fainter: what is drawn boldly counts.

    Returns:
        Image (size, size, 3), uint8 RGB.
    """
    scene = draw_background(rng, size)
    for _ in range(rng.integers(1, 5)):
        centre, axes = rng.integers(0, size, 2), rng.integers(size // 10, size // 2, 2)
        turn, start, length = rng.uniform((0, 0, 40), (180, 360, 200)).tolist()  # degrees
        width = int(rng.integers(1, size // 16 + 1))
        ink = (rng.choice([-1, 1]) * _ink(rng, 0.1, 0.3)).tolist()
        cv2.ellipse(scene, centre.tolist(), axes.tolist(), turn, start, start + length, ink, width)
    placed = place_glyph(rng, glyph, np.zeros((size, size), bool), extent=(0.55, 0.85))
    if placed is None:  # cannot be: nothing is taken
        raise RuntimeError(f'no room for a digit in {size} pixels')
    ink = _ink(rng, 0.9, 1.3)
    scene += placed[0][..., None] * (ink - rng.uniform(0.7, 1) * scene)  # texture shines through
    return expose(rng, scene)


def _ink(rng: np.random.Generator, low: float, high: float) -> np.ndarray:
    return rng.uniform(low, high) + 0.2 * rng.standard_normal(3, np.float32)


@DATASETS.register_module()
class DigitsClsDataset(ImageNet):
    """Handwritten digits on textures, written to ``data_root`` when first loaded.

    Args:
        data_root: The folder that :func:`write_classification` writes.
        seed: What the pictures follow from.
        num_train: Number of training pictures.
        num_val: Number of validation pictures.
        size: Height and width of a picture in pixels.
        tuning: Whether it is for finding recipes, of training glyphs alone.
        **kwargs: Arguments of ``ImageNet``; ``split`` is 'train' or 'val'.
    """

    METAINFO = {'classes': CLASSES[1:]}  # noqa: RUF012, mmengine's own form

    def __init__(
        self,
        data_root: str = 'data/digits/imagenet',
        seed: int = 0,
        num_train: int = 4000,
        num_val: int = 1000,
        size: int = 64,
        tuning: bool = False,
        **kwargs,
    ) -> None:
        self._settings: dict[str, Any] = dict(
            seed=seed, num_train=num_train, num_val=num_val, size=size, tuning=tuning
        )
        super().__init__(data_root=data_root, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Writes the pictures if need be: here, so that ``lazy_init`` leaves the disk alone."""
        write_classification(self.data_root, **self._settings)
        return super().load_data_list()
