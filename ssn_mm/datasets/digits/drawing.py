"""The digits dataset: pictures of scikit-learn's handwritten digits, in the standard layouts.

No download: the 1797 8x8 digits of UCI's *Optical Recognition of Handwritten Digits* come inside
scikit-learn. Each image is drawn from its own random generator, so what is written depends on its
settings and on the library versions alone, not on the order or the process that drew it.
"""

from pathlib import Path

import cv2
import numpy as np

from .writing import SPLITS, TASK, VERSION, checked, draws, write_image, write_once

CLASSES = ('background', *(f'digit {d}' for d in range(10)))
# Okabe and Ito's colour-blind safe colours, and three that differ from them in lightness too
PALETTE = [[0, 0, 0], [230, 159, 0], [86, 180, 233], [0, 158, 115], [240, 228, 66], [0, 114, 178]]
PALETTE += [[213, 94, 0], [204, 121, 167], [136, 34, 85], [238, 238, 238], [51, 34, 136]]

VAL_FRACTION = 0.2  # how many of each class's glyphs are for validation
CELL = 8  # pixels that one of a glyph's 8x8 becomes before it is warped into the scene


def write_segmentation(
    root: str | Path = 'data/digits/ade',
    seed: int = 0,
    num_train: int = 800,
    num_val: int = 200,
    size: int = 128,
    progress: bool = True,
    tuning: bool = False,
) -> Path:
    """Writes the digits dataset for segmentation in ADE20K's layout, unless it is there already.

    ``root`` then holds ``images/{training,validation}/*.jpg``,
    ``annotations/{training,validation}/*.png`` (uint8, read with ``reduce_zero_label=True``:
    0 unlabelled, 1 background, 2..11 digits 0..9) and ``meta.json``. Any number of processes may
    call this at once: one writes, the others wait for it.

    Args:
        root: Folder of this dataset alone, the ``data_root`` of its class.
        seed: 0..2**32-1; the glyphs of each split and everything in the scenes follow from it.
        num_train: Number of training scenes.
        num_val: Number of validation scenes, drawn from glyphs that no training scene shows.
        size: Height and width of a scene in pixels, at least 64; digits grow with it.
        progress: Whether the process that writes shows a progress bar (on stderr).
        tuning: Whether both splits are of the training glyphs alone, for finding recipes; see
            :func:`split_glyphs`.

    Returns:
        ``root`` as a Path.

    Raises:
        ValueError: An argument is out of range, or ``root`` holds something else, such as a
            dataset written with other settings.
        OSError: ``root`` cannot be written.
    """
    settings = {
        TASK: 'segmentation',
        'version': VERSION,
        'seed': checked('seed', seed, 0, 2**32 - 1),
        'num_train': checked('num_train', num_train, 1),
        'num_val': checked('num_val', num_val, 1),
        'size': checked('size', size, 64),
    }

    if tuning:
        settings['tuning'] = True  # absent else, as in folders of 0.1

    def fill(folder: Path) -> None:
        glyphs = split_glyphs(seed, tuning)
        for kind in ('images', 'annotations'):
            for split in SPLITS:
                (folder / kind / split).mkdir(parents=True)
        for split, i, rng in draws(seed, num_train, num_val, progress, tuning):
            image, label = draw_scene(rng, glyphs[split], size)
            stem = f'digits_{split}_{i:08d}'
            write_image(folder / 'images' / split / f'{stem}.jpg', image[..., ::-1])  # to BGR
            write_image(folder / 'annotations' / split / f'{stem}.png', label)

    return write_once(root, settings, fill)


def split_glyphs(seed: int, tuning: bool = False) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Splits the real digits, class by class, so that no glyph is in both splits.

    Args:
        seed: The dataset's seed.
        tuning: Whether to split the training glyphs of that seed alone, in the same proportion:
            what is tuned on them has seen none of the glyphs that results are reported of.

    Returns:
        For 'training' and 'validation': glyphs (N, 8, 8), float32 in [0, 1], and digits (N,).
    """
    from sklearn.datasets import load_digits  # slow to import, and needed only to write

    data = load_digits()
    rng = np.random.default_rng([seed, 0])
    train: list[int] = []
    val: list[int] = []
    for digit in range(10):
        members = rng.permutation(np.flatnonzero(data.target == digit))
        cut = round(VAL_FRACTION * len(members))
        if tuning:
            members = members[cut:]
            cut = round(VAL_FRACTION * len(members))
        val.extend(members[:cut])
        train.extend(members[cut:])
    images = (data.images / 16).astype(np.float32)
    return {s: (images[i], data.target[i]) for s, i in zip(SPLITS, (train, val), strict=True)}


def draw_scene(
    rng: np.random.Generator, glyphs: tuple[np.ndarray, np.ndarray], size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draws two to five digits, as far as there is room, on a texture.

    A digit's label covers the convex hull of its strokes: what lies between them looks like
    background, so a small patch does not give the class away; nor do the colours.

    Returns:
        Image (size, size, 3), uint8 RGB, and label (size, size), uint8 in ADE20K's convention.
    """
    scene = draw_background(rng, size)
    digits = np.unique(glyphs[1])
    polarity = rng.choice([-1, 1])
    mixed = rng.random() < 0.15  # both polarities in one image
    label = np.ones((size, size), np.uint8)
    edge: np.ndarray = np.zeros_like(label)
    brush = np.ones((2 * max(1, size // 128) + 1,) * 2, np.uint8)  # draws the ambiguous border
    for _ in range(rng.integers(2, 6)):
        pick = rng.choice(np.flatnonzero(glyphs[1] == rng.choice(digits)))
        placed = place_glyph(rng, glyphs[0][pick], label > 1)
        if placed is None:
            continue
        stroke, body = placed
        ink = rng.uniform(0.7, 1.1) + 0.2 * rng.standard_normal(3, np.float32)
        ink *= rng.choice([-1, 1]) if mixed else polarity
        scene += stroke[..., None] * (ink - rng.uniform(0.7, 1) * scene)  # texture shines through
        label[body > 0] = 2 + glyphs[1][pick]
        border: np.ndarray = cv2.morphologyEx(body, cv2.MORPH_GRADIENT, brush)
        edge = np.where(body > 0, border, edge | border)
    label[edge > 0] = 0
    return expose(rng, scene), label


def place_glyph(
    rng: np.random.Generator,
    glyph: np.ndarray,
    taken: np.ndarray,
    extent: tuple[float, float] = (0.25, 0.56),
) -> tuple[np.ndarray, np.ndarray] | None:
    """Puts a glyph (8, 8) at a random place, scale and slant where little is ``taken`` (S, S).

    Its longer side becomes a part of S between the two of ``extent``: 32 to 72 of 128 pixels.

    Returns:
        Stroke opacity (S, S), float32 in [0, 1], and body (S, S), uint8 0 or 1; None if there is
        no room.
    """
    size = len(taken)
    grid = cv2.copyMakeBorder(glyph, 2, 2, 2, 2, cv2.BORDER_CONSTANT)
    grid = cv2.resize(grid, None, fx=CELL, fy=CELL, interpolation=cv2.INTER_CUBIC)
    opaque = np.clip((grid - rng.uniform(0.2, 0.4)) / 0.25, 0, 1)  # pens of several widths
    hull = cv2.convexHull(np.argwhere(opaque > 0.5)[:, ::-1].astype(np.float32))
    hull = hull.reshape(-1, 2)  # (P, 2), xy
    for _ in range(20):
        angle, shear = rng.uniform(-0.25, 0.25, 2)  # radians; a 6 must not become a 9
        cos, sin = np.cos(angle), np.sin(angle)
        matrix = np.array([[cos, -sin], [sin, cos]]) @ [[rng.uniform(0.9, 1.2), shear], [0, 1]]
        matrix *= size * rng.uniform(*extent) / np.ptp(hull @ matrix.T, axis=0).max()
        points = hull @ matrix.T
        shift = rng.uniform(2 - points.min(0), size - 3 - points.max(0))
        body: np.ndarray = np.zeros((size, size), np.uint8)
        cv2.fillConvexPoly(body, np.round(points + shift).astype(np.int32), 1)
        if np.count_nonzero(body & taken) <= size * size / 800:
            affine = np.column_stack([matrix, shift])
            body = cv2.dilate(body, np.ones((3, 3), np.uint8))
            return cv2.warpAffine(opaque, affine, (size, size)), body
    return None


def draw_background(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draws a coarse and a faint texture over each other: (size, size, 3), float32."""
    scene = rng.uniform(0.15, 0.4) * draw_texture(rng, size)
    return scene + rng.uniform(0, 0.15) * draw_texture(rng, size)


def draw_texture(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draws coloured noise, grating, gradient or tiles: (size, size, 3), float32 in about ±1."""
    kind = rng.choice(['noise', 'grating', 'gradient', 'tiles'], p=[0.4, 0.25, 0.15, 0.2])
    y, x = np.mgrid[:size, :size].astype(np.float32) / size
    angle = rng.uniform(0, 2 * np.pi)
    along = np.cos(angle) * x + np.sin(angle) * y
    if kind == 'noise':
        field = np.zeros_like(x)
        for octave in range(2, 7):
            coarse = rng.standard_normal((2**octave, 2**octave), np.float32)
            coarse *= rng.uniform(0.5, 0.9) ** octave
            field += cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    elif kind == 'grating':
        bend = rng.uniform(0, 0.1) * np.sin(2 * np.pi * rng.uniform(0.5, 2) * (x - y))
        field = np.sin(2 * np.pi * rng.uniform(3, 16) * (along + bend))
    elif kind == 'gradient':
        field = along if rng.random() < 0.5 else np.hypot(x - rng.random(), y - rng.random())
    else:
        coarse = rng.standard_normal(rng.integers(3, 12, 2), np.float32)
        field = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_NEAREST)
    field = field.astype(np.float32) - np.float32(field.mean())
    colour = 1 + 0.4 * rng.standard_normal(3, np.float32)
    return (field / np.abs(field).max())[..., None] * colour


def expose(rng: np.random.Generator, scene: np.ndarray) -> np.ndarray:
    """Gives a scene its own contrast, brightness, colour cast and noise: uint8."""
    low, high = np.percentile(scene[::4, ::4], [0.5, 99.5]).tolist()
    scene = (scene - low) / (high - low)
    scene += rng.uniform(0, 0.05) * rng.standard_normal(scene.shape, np.float32)
    contrast = 0.2 ** rng.uniform(0, 1)
    black = rng.uniform(0, 1 - contrast) * rng.uniform(0.75, 1, 3).astype(np.float32)
    scene = (contrast * scene + black) * rng.uniform(0.6, 1, 3).astype(np.float32)
    return np.clip(255 * scene, 0, 255).astype(np.uint8)
