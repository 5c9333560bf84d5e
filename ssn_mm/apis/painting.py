"""Overlays: pictures with what a network predicts for them."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .predictor import Prediction

_TALLEST = 12  # lines of a legend
_SHORT_SIDE = 320  # pixels; smaller pictures are enlarged, or no text fits


class Painter:
    """Paints predictions beside and over pictures.

    Args:
        classes: Names of the classes.
        palette: Colours of a segmentation's classes, (classes, 3) RGB; made up where None.
        top_k: How many classes to name beside a picture.
    """

    def __init__(
        self, classes: Sequence[str], palette: Sequence | None = None, top_k: int = 5
    ) -> None:
        self.classes = classes
        given = np.asarray(_colours(len(classes)) if palette is None else palette, np.uint8)
        # labels that nobody named may come, too
        self.palette = np.concatenate([given.reshape(-1, 3), _colours(256)[len(given) :]])
        self.top_k = top_k

    def paint(self, image: np.ndarray, prediction: Prediction) -> np.ndarray:
        """A picture (H, W, 3) in BGR with its prediction; pictures of one size give one size."""
        picture = image
        if prediction.label_map is not None:
            colours = self.palette[prediction.label_map][..., ::-1]
            picture = (0.5 * image + 0.5 * colours).round().astype(np.uint8)
        factor = max(1, _SHORT_SIDE / min(image.shape[:2]))
        height, width = (round(size * factor) for size in image.shape[:2])
        shown = Image.fromarray(picture[..., ::-1]).resize(
            (width, height), Image.Resampling.NEAREST if factor > 2 else Image.Resampling.BILINEAR
        )
        legend = self._legend(prediction, height)
        sheet = Image.new('RGB', (width + legend.width, height), 'white')
        sheet.paste(shown)
        sheet.paste(legend, (width, 0))
        return np.asarray(sheet)[..., ::-1]

    def contact_sheet(self, frames: Sequence[np.ndarray], prediction: Prediction) -> np.ndarray:
        """Frames of a clip in rows of three, beside the prediction for it."""
        columns = min(3, len(frames))
        height, width = frames[0].shape[:2]
        rows = -(-len(frames) // columns)
        sheet = np.zeros((rows * (height + 2), columns * (width + 2), 3), np.uint8)
        for index, frame in enumerate(frames):
            top, left = (index // columns) * (height + 2), (index % columns) * (width + 2)
            part = frame[:height, :width]  # some videos change their size
            sheet[top : top + part.shape[0], left : left + part.shape[1]] = part
        return self.paint(sheet, Prediction(prediction.scores))

    def _legend(self, prediction: Prediction, height: int) -> Image.Image:
        """The largest classes with bars, in their colours for a segmentation."""
        regions = prediction.label_map is not None
        count = min(len(prediction.scores), _TALLEST if regions else self.top_k)
        size = int(np.clip(height / (2.2 * count), 9, 22))
        font = ImageFont.load_default(size)
        longest = max([font.getlength(name) for name in self.classes], default=0)
        width = int(min(max(longest, 6 * size), 16 * size) + 5.5 * size)
        legend = Image.new('RGB', (width, height), 'white')
        draw = ImageDraw.Draw(legend)
        for line, label in enumerate(np.argsort(-prediction.scores, kind='stable')[:count]):
            score = prediction.scores[label]
            top = int((line + 0.15) * 2.1 * size)
            if (regions and not score) or top + 2 * size > height:
                break
            colour = tuple(self.palette[label].tolist()) if regions else (0, 114, 178)
            name = self.classes[label] if label < len(self.classes) else str(label)
            draw.text((size / 2, top), name, 'black', font)
            share = f'{score:.0%}' if score >= 0.01 else '<1%'
            if not 0 <= score <= 1:  # what a head gives need not be a probability
                share = f'{score:.3g}'
            draw.text((width - size / 2, top), share, 'black', font, anchor='ra')
            low, left, right = top + 1.3 * size, size / 2, width - size / 2
            draw.rectangle((left, low, right, low + size / 3), (235, 235, 235))
            end = left + max(2.0, (right - left) * float(np.clip(score, 0, 1)))
            draw.rectangle((left, low, end, low + size / 3), colour, (120, 120, 120))
        return legend


def _colours(count: int) -> np.ndarray:
    """Distinct colours, (count, 3) RGB, the same for the same count."""
    hues = np.random.default_rng(0).permutation(count) / max(count, 1)
    pictures = Image.fromarray(
        np.stack([hues * 255, np.full(count, 190), np.full(count, 230)], -1)[None].astype(np.uint8),
        'HSV',
    )
    return np.asarray(pictures.convert('RGB'))[0]
