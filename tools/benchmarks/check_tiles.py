"""Runs trained demos over pictures in sliding windows and prints a page about it.

    python tools/train.py configs/demo/deeplab_bn_digits.py
    python tools/train.py configs/demo/deeplab_ssn_digits.py
    python tools/benchmarks/check_tiles.py bn=work_dirs/deeplab_bn_digits/iter_600.pth \\
        ssn=work_dirs/deeplab_ssn_digits/iter_600.pth > docs/deploy/tiles.md

A training takes a minute or two, this one minute.
"""

import argparse
import platform
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from torch import Tensor

from ssn_mm.cli.config import load_config
from ssn_mm.cli.tool import run_tool
from ssn_mm.datasets.digits import drawing
from ssn_mm.deploy import tile_report, whole_picture_statistics
from ssn_mm.deploy.networks import build_network, predictions
from ssn_mm.timing.tables import table
from ssn_mm.weights.content import load_strictly
from ssn_mm.weights.files import read_weights

ROOT = Path(__file__).resolve().parents[2]
UNIT, TIMES = 64, 3  # pixels of the scenes of the training; how many times larger pictures are
WINDOW = dict(mode='slide', crop_size=(UNIT, UNIT), stride=(42, 42))
TEXT = """# Tiles of larger pictures

The DeepLab demos, trained on scenes of 64x64 pixels, on {count} pictures of 192x192: *scenes* of
one texture and exposure, with digits of the training's size; and *mosaics* of 3x3 scenes, each with
its own. They ran as a whole and in sliding windows of 64x64 pixels with a stride of 42, there by
what norms measure of the window, and by the statistics of the whole picture in all norms
(`whole_picture_statistics`). Changed are labels that differ from those of the whole picture.
Written by `python tools/benchmarks/check_tiles.py {networks}` with torch {torch}, Python {python}.

{networks_table}

Labels that each norm changes by measuring the window, with all others given the statistics of the
whole picture. They do not add up, since a norm undoes some of what others before it did.

{layers_table}
"""


def scene(rng: np.random.Generator, glyphs: tuple[np.ndarray, np.ndarray]) -> tuple:
    """A picture (S, S, 3) RGB of one texture, and its labels (S, S)."""
    size = UNIT * TIMES
    canvas, label = drawing.draw_background(rng, size), np.zeros((size, size), np.uint8)
    polarity = rng.choice([-1, 1])
    for _ in range(int(3.5 * TIMES**2)):  # on average as many as on the training's scenes
        pick = rng.integers(len(glyphs[1]))
        extent = (0.25 / TIMES, 0.56 / TIMES)
        placed = drawing.place_glyph(rng, glyphs[0][pick], label > 0, extent)
        if placed is not None:
            stroke, body = placed
            ink = polarity * (rng.uniform(0.7, 1.1) + 0.2 * rng.standard_normal(3, np.float32))
            canvas += stroke[..., None] * (ink - rng.uniform(0.7, 1) * canvas)
            label[body > 0] = 1 + glyphs[1][pick]
    return drawing.expose(rng, canvas), label


def mosaic(rng: np.random.Generator, glyphs: tuple[np.ndarray, np.ndarray]) -> tuple:
    """A picture of scenes as in training, beside each other, and its labels; 255 is no class."""
    scenes = [[drawing.draw_scene(rng, glyphs, UNIT) for _ in range(TIMES)] for _ in range(TIMES)]
    image, label = (
        np.concatenate([np.concatenate([one[part] for one in row], 1) for row in scenes])
        for part in (0, 1)
    )
    return image, label - np.uint8(1)


def pictures(draw: Callable[..., tuple], count: int) -> tuple[list[Tensor], Tensor]:
    """Pictures (3, S, S) in BGR, as they are loaded, and their labels (N, S, S)."""
    glyphs = drawing.split_glyphs(0)['validation']
    drawn = [draw(np.random.default_rng([0, index]), glyphs) for index in range(count)]
    images = [torch.from_numpy(image[..., ::-1].transpose(2, 0, 1).copy()) for image, _ in drawn]
    return images, torch.from_numpy(np.stack([label for _, label in drawn])).long()


def mean_iou(found: Tensor, labels: Tensor) -> float:
    """The mean intersection over union of the classes, in percent."""
    found, labels = found[labels != 255], labels[labels != 255]
    classes = range(len(drawing.CLASSES))
    both = [((found == c) & (labels == c)).sum().item() for c in classes]
    either = [((found == c) | (labels == c)).sum().item() for c in classes]
    return 100 * float(
        np.mean([one / other for one, other in zip(both, either, strict=True) if other])
    )


@torch.no_grad()
def check(model: Any, images: list[Tensor], labels: Tensor) -> tuple[list[float], dict]:
    """Measures a network on pictures.

    Returns:
        mIoU of whole pictures, windows, and windows with the pictures' statistics; labels that
        windows change, and that they change with those; in percent. And for each layer what it
        measures, and the percentage that it changes.
    """
    inputs = model.data_preprocessor(dict(inputs=images, data_samples=None), False)['inputs']
    found = []
    for cfg, given in ((dict(mode='whole'), False), (WINDOW, False), (WINDOW, True)):
        model.test_cfg = Config(cfg)
        with whole_picture_statistics(model, inputs) if given else nullcontext():
            predicted = predictions(model, inputs)
        found.append(torch.cat([one.pred_sem_seg.data for one in predicted]))
    whole, *others = found
    numbers = [mean_iou(own, labels) for own in found]
    numbers += [100 * (own != whole).double().mean().item() for own in others]
    report = tile_report(model, inputs, UNIT, WINDOW['stride'])
    share = {name: 100 * own / report.total for name, own in report.layers.items()}
    return numbers, {name: (report.measures[name], own) for name, own in share.items()}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'networks', nargs='+', metavar='NORM=CHECKPOINT', help='norm and file of a DeepLab demo'
    )
    parser.add_argument('--count', type=int, default=24, help='pictures of a kind (default: 24)')
    args = parser.parse_args()
    for given in args.networks:
        norm, _, file = given.partition('=')
        if not file or not (ROOT / f'configs/demo/deeplab_{norm}_digits.py').is_file():
            parser.error(f'expected bn=CHECKPOINT, ssn=CHECKPOINT or another demo, got {given!r}')
    if args.count < 1:
        parser.error(f'--count must be at least 1, got {args.count}')
    return args


def main() -> None:
    args = parse_args()
    MMLogger.get_current_instance().setLevel('WARNING')
    warnings.simplefilter('ignore')
    kinds = {own.__name__: pictures(own, args.count) for own in (scene, mosaic)}
    lines, layers = [], {}
    for given in args.networks:
        norm, _, file = given.partition('=')
        model = build_network(load_config(ROOT / f'configs/demo/deeplab_{norm}_digits.py'))
        load_strictly(model, read_weights(file)[0], file)
        for kind, (images, labels) in kinds.items():
            numbers, own = check(model.eval(), images, labels)
            lines.append([norm.upper(), f'{kind}s', *(f'{number:.1f}' for number in numbers)])
            for name, (measures, share) in own.items():
                line = layers.setdefault((norm, name), [norm.upper(), name, measures])
                line.append(f'{share:.2f}')
    head = ['network', 'pictures', 'mIoU, whole', 'windows', "windows, picture's statistics"]
    head += ['% changed by windows', "% changed, picture's statistics"]
    names = ['network', 'layer', 'measures', *(f'% of {kind}s' for kind in kinds)]
    told = dict(torch=torch.__version__, python=platform.python_version(), count=args.count)
    told['networks'] = ' '.join(f'{given.partition("=")[0]}=FILE' for given in args.networks)
    tables = dict(networks_table=table(head, lines), layers_table=table(names, layers.values()))
    print(TEXT.format(**told, **tables), end='')


if __name__ == '__main__':
    run_tool(main)
