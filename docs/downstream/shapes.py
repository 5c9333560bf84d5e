"""A project's own code: a dataset, a radius schedule, and pictures to try them on.

python shapes.py data/shapes
"""

import sys
from pathlib import Path

import cv2
import numpy as np
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from ssn_mm.engine.schedules import SCHEDULES


@DATASETS.register_module()
class ShapesDataset(BaseSegDataset):
    """Discs and squares on a noisy ground."""

    METAINFO = {  # noqa: RUF012, mmengine's own form
        'classes': ('ground', 'disc', 'square'),
        'palette': [[90, 90, 90], [220, 60, 60], [60, 60, 220]],
    }

    def __init__(self, img_suffix='.png', seg_map_suffix='.png', **kwargs) -> None:
        super().__init__(img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, **kwargs)


def late(progress: float) -> float:
    """Radius that grows slowly first, so that normalizers compete for longer."""
    return progress**2


SCHEDULES['late'] = late


def write(root: Path, split: str, count: int, size: int = 96) -> None:
    """Draws ``count`` pictures of ``size`` pixels a side, and their label maps."""
    rng = np.random.default_rng(len(split))
    for kind in ('images', 'labels'):
        (root / kind / split).mkdir(parents=True, exist_ok=True)
    for index in range(count):
        image = rng.integers(0, 120, (size, size, 3), np.uint8)
        label = np.zeros((size, size), np.uint8)
        for shape in (1, 2):
            x, y, r = (int(n) for n in rng.integers((20, 20, 8), (size - 20, size - 20, 20)))
            drawn = np.zeros_like(label)
            if shape == 1:
                cv2.circle(drawn, (x, y), r, 1, -1)
            else:
                cv2.rectangle(drawn, (x - r, y - r), (x + r, y + r), 1, -1)
            image[drawn == 1] += np.uint8(100)
            label[drawn == 1] = shape
        cv2.imwrite(str(root / 'images' / split / f'{index:03d}.png'), image)
        cv2.imwrite(str(root / 'labels' / split / f'{index:03d}.png'), label)


if __name__ == '__main__':
    write(Path(sys.argv[1]), 'training', 40)
    write(Path(sys.argv[1]), 'validation', 10)
