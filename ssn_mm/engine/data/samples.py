"""Samples that follow from the iteration alone, and the name of the file of a broken one."""

import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from torch.utils.data import Dataset

from ...datasets.reading import BrokenSampleError, load_sample

_TRIES = 20  # samples in a row that may be broken before it is no accident


class Samples(Dataset):
    """A dataset whose random numbers follow from ``seed`` and from where in a training it is read.

    Args:
        dataset: A dataset of any of the libraries.
        check: Raises a ValueError for a sample, already through the pipeline, that is wrong.
        seed: See :func:`seed_everything`; None leaves all generators alone (evaluation).
        broken: 'stop': a broken sample raises; 'skip': it is logged, and another one, drawn at
            random, takes its place.

    Items are (iteration, place in the batch, index), see ``Draws``, or an index alone.

    Raises:
        BrokenSampleError: From an item, see ``broken``; or twenty in a row are broken.
    """

    def __init__(
        self,
        dataset: Dataset,
        check: Callable[[Any], None],
        seed: tuple[int, ...] | None = None,
        broken: str = 'stop',
    ) -> None:
        self.dataset, self.check, self.seed, self.broken = dataset, check, seed, broken

    def __getattr__(self, name: str) -> Any:
        # it is unpickled in a worker; or asked for what reads past it, __getitems__
        if name == 'dataset' or name.startswith('__'):
            raise AttributeError(name)
        return getattr(self.dataset, name)  # metainfo, ...

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, item: Any) -> Any:
        *place, index = item if isinstance(item, tuple) else (item,)
        if self.seed is not None:
            seed_everything(*self.seed, *place)
        for _ in range(_TRIES):
            try:
                return load_sample(self.dataset, index, self.check)
            except BrokenSampleError as error:
                if self.broken == 'stop':
                    raise
                last = error
                print_log(f'Skipped: {error}', 'current', 30)
                index = random.randrange(len(self))
        raise BrokenSampleError(f'{_TRIES} samples in a row are broken, the last: {last}')


class NamingCollate:
    """A data loader's ``collate_fn`` that names samples which cannot be one batch.

    Args:
        collate: The loader's own function.
    """

    def __init__(self, collate: Callable[[list], Any]) -> None:
        self.collate = collate

    def __call__(self, samples: list) -> Any:
        """The batch.

        Raises:
            BrokenSampleError: Their shapes differ; names a file of each.
        """
        try:
            return self.collate(samples)
        except Exception as error:
            examples = dict(map(_shape_and_file, reversed(samples)))
            if len(examples) < 2:
                raise
            told = '; '.join(f'{file} has shape {shape}' for shape, file in examples.items())
            raise BrokenSampleError(f'samples that cannot be one batch: {told}') from error


def _shape_and_file(sample: Any) -> tuple[tuple[int, ...] | None, str]:
    inputs = sample.get('inputs') if isinstance(sample, Mapping) else None
    meta = getattr(sample.get('data_samples'), 'metainfo', {}) if inputs is not None else {}
    shape = tuple(inputs.shape) if isinstance(inputs, torch.Tensor) else None
    return shape, meta.get('img_path') or meta.get('filename') or 'one of them'


def seed_everything(*place: int) -> None:
    """Seeds Python, NumPy and PyTorch by numbers that say where a training stands."""
    seed = int(np.random.SeedSequence(place).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)
    # torch.manual_seed formats the stack for each kind of device that is not in use, milliseconds
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
    elif torch.get_device_module() not in (torch.cpu, torch.cuda):
        torch.manual_seed(seed)
