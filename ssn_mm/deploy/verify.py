"""Compares deployed networks with the trained one on real pictures."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.runner import Runner
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import Tensor

from ..analysis.benchmark_rows import table
from ..datasets.preflight import DatasetMissingError, check_datasets
from .export import check_outputs

Program = Callable[[Tensor], Tensor]


def verify_outputs(
    cfg: Config, model: Any, networks: Mapping[str, Program], shape: Sequence[int], count: int
) -> str:
    """Compares outputs and labels of networks with those of the one called 'trained'.

    Args:
        cfg: Its ``test_dataloader`` gives the samples; photographs where the data is not there.
        model: The OpenMMLab model, for its preprocessing.
        networks: Functions of preprocessed inputs, by name.
        shape: Of a photograph's part in pixels, for clips the frames before them.
        count: How many samples.

    Returns:
        A table.

    Raises:
        ValueError: Outputs differ by more than 1e-4 of the largest.
    """
    worst = dict.fromkeys(networks, 0.0)
    equal, total, seen = dict.fromkeys(networks, 0), 0, 0
    source, samples = _samples(cfg, model, shape, count)
    for inputs in samples:
        labels = networks['trained'](inputs).argmax(1)
        total, seen = total + labels.numel(), seen + len(inputs)
        for name, network in networks.items():
            difference = check_outputs(network, networks['trained'], inputs, f'the {name} network')
            worst[name] = max(worst[name], difference)
            equal[name] += int((network(inputs).argmax(1) == labels).sum())
    lines = [[name, f'{worst[name]:.1e}', f'{equal[name]} of {total}'] for name in networks]
    head = ['network', 'largest difference, relative', 'labels equal']
    return f'On {seen} {source}:\n\n{table(head, lines)}\n'


def _samples(
    cfg: Config, model: Any, shape: Sequence[int], count: int
) -> tuple[str, Iterator[Tensor]]:
    """Preprocessed inputs of the config's test data; of photographs, where it is not there."""
    try:
        check_datasets(cfg, ('test',))
    except DatasetMissingError:
        return 'photographs (the test data is not there)', _photographs(model, shape, count)

    def read() -> Iterator[Tensor]:
        loader = copy.deepcopy(cfg.test_dataloader)
        loader.update(batch_size=1, num_workers=0, persistent_workers=False)
        dataset = Runner.build_dataloader(loader).dataset
        for index in np.linspace(0, len(dataset) - 1, min(count, len(dataset))).astype(int):
            batch = pseudo_collate([dataset[int(index)]])
            yield model.data_preprocessor(batch, False)['inputs']

    return 'test samples', read()


def _photographs(model: Any, shape: Sequence[int], count: int) -> Iterator[Tensor]:
    """Parts of scikit-learn's two photographs; of a clip, each frame a little further right."""
    *frames, height, width = shape
    for index in range(count):
        photograph = Image.fromarray(load_sample_images().images[index % 2]).resize(
            (2 * width, 2 * height)
        )
        clip = []
        for frame in range(*(frames or [1])):
            left = (index * 7 + frame * 2) % width
            part = photograph.crop((left, height // 2, left + width, height // 2 + height))
            clip.append(torch.from_numpy(np.array(part)).permute(2, 0, 1))
        picture = torch.stack(clip, 1)[None] if frames else clip[0]
        batch: dict[str, Any] = dict(inputs=[picture], data_samples=None)
        yield model.data_preprocessor(batch, False)['inputs'].float()
