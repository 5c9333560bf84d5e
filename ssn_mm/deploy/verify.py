"""Compares deployed networks with the trained one on samples of the test data."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import Tensor

from ..datasets.check.preflight import DatasetMissingError, check_datasets
from ..datasets.pipelines import dataset_of_tests
from ..timing.tables import table
from .compare import check_outputs, largest_difference
from .networks import equal_labels, predictions, with_program
from .samples import build_dataset, read_samples

Program = Callable[[Tensor], Tensor]


def verify_outputs(
    cfg: Config, model: Any, networks: Mapping[str, Program], shape: Sequence[int], count: int
) -> str:
    """Compares outputs and labels of networks with those of the one called 'trained'.

    Labels are what the model's library makes of the outputs, as in testing.

    Args:
        cfg: The config. Its test data gives the samples, else its validation data; photographs
            where neither is there.
        model: The OpenMMLab model, which preprocesses the samples and predicts from outputs.
        networks: Functions of preprocessed inputs, by name, 'trained' among them.
        shape: Shape of the part of a photograph, (C, H, W), with clips or segments before the
            channels and frames after them.
        count: Number of samples.

    Returns:
        A table with a line for each network.

    Raises:
        ValueError: The outputs of a network differ by more than its precision's tolerance. int8
            is not judged on photographs, whose ranges it was not calibrated with.
    """
    worst = dict.fromkeys(networks, 0.0)
    equal, total, seen = dict.fromkeys(networks, 0), 0, 0
    source, batches = sample_batches(cfg, model, shape, count)
    for inputs, samples in batches:
        expected = predictions(with_program(model, networks['trained']), inputs, samples)
        total, seen = total + equal_labels(expected, expected)[1], seen + len(inputs)
        for name, network in networks.items():
            precision = getattr(network, 'meta', {}).get('precision', 'float32')
            if precision == 'int8' and samples is None:  # it was calibrated with other pictures
                own = largest_difference(network(inputs), networks['trained'](inputs))[0]
            else:
                what = f'the {name} network'
                own = check_outputs(network, networks['trained'], inputs, what, precision, '')
            worst[name] = max(worst[name], own)
            found = predictions(with_program(model, network), inputs, samples)
            equal[name] += equal_labels(found, expected)[0]
    lines = [[name, f'{worst[name]:.1e}', f'{equal[name]} of {total}'] for name in networks]
    head = ['network', 'largest difference, relative', 'labels equal']
    return f'On {seen} {source}:\n\n{table(head, lines)}\n'


def sample_batches(
    cfg: Config, model: Any, shape: Sequence[int], count: int
) -> tuple[str, Iterator[tuple[Tensor, list | None]]]:
    """Where samples come from, in words; and their preprocessed inputs, each with its samples."""
    split = 'test' if cfg.get('test_dataloader') else 'val'
    missing = f'{split} data is not there'
    try:
        check_datasets(cfg, (split,))
        node = dataset_of_tests(cfg)
    except DatasetMissingError:
        node = {}
    except ValueError:
        node, missing = {}, 'config has no test data'
    if 'type' not in node:
        return f'photographs (the {missing})', _photographs(model, shape, count)
    return f'{split} samples', read_samples(build_dataset(node), model, count)


def _photographs(
    model: Any, shape: Sequence[int], count: int
) -> Iterator[tuple[Tensor, list | None]]:
    """Parts of scikit-learn's two photographs; the frames of a clip move to the right."""
    *_, height, width = shape
    # (C, H, W), (segments, C, H, W) or (clips, C, frames, H, W)
    frames = {3: 1, 4: shape[0], 5: shape[-3]}[len(shape)]
    channels = shape[1] if len(shape) > 3 else shape[0]
    for index in range(count):
        photograph = Image.fromarray(load_sample_images().images[index % 2]).resize(
            (2 * width, 2 * height)
        )
        views = []
        for frame in range(frames):
            left = (index * 7 + frame * 2) % width
            part = photograph.crop((left, height // 2, left + width, height // 2 + height))
            pixels = np.resize(np.array(part).transpose(2, 0, 1), (channels, height, width))
            views.append(torch.from_numpy(pixels))
        picture = {3: views[0], 4: torch.stack(views), 5: torch.stack(views, 1)[None]}[len(shape)]
        batch: dict[str, Any] = dict(inputs=[picture], data_samples=None)
        yield model.data_preprocessor(batch, False)['inputs'].float(), None
