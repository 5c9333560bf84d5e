"""Solar cells of noise, in a folder as the package of the photographs has it."""

import cv2
import numpy as np

GRADES = ('0.0', '0.3333333333333333', '0.6666666666666666', '1.0')


def draw_cells(folder, count=96):
    """Writes as many cells of each grade and kind as of the others; returns the folder."""
    rng, lines = np.random.default_rng(0), []
    (folder / 'images').mkdir(parents=True)
    for number in range(count):
        grade, kind = GRADES[number % 4], ('mono', 'poly')[number // 4 % 2]
        name = f'images/cell{number:04d}.png'
        cv2.imwrite(str(folder / name), rng.integers(0, 256, (30, 30), np.uint8))
        lines.append(f'{name}  {grade:<20} {kind}\n')
    (folder / 'labels.csv').write_text(''.join(lines))
    return folder
