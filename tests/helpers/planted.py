"""Pictures, annotations and videos on disk, for tests that read or break them."""

import os

import cv2
import numpy as np


def picture(path, size=(40, 30), seed=0):
    """Writes an image of noise, so that it has bytes to lose."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), pixels)


def annotation(path, values, size=(40, 30), dtype=np.uint8):
    """Writes a label map of equal stripes, one of each value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stripes = np.repeat(np.array(values, dtype), size[0] // len(values))
    assert cv2.imwrite(str(path), np.tile(stripes, (size[1], 1)))


def video(path, frames=12, size=(64, 48)):
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), 12, size)
    for seed in range(frames):
        noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        writer.write(noise)
    writer.release()
    assert path.stat().st_size > 1000


def cut(path, share=0.5):
    os.truncate(path, int(share * path.stat().st_size))
