"""Samples of a training as a pure function of its iteration, and the file of a broken one."""

import random
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dataset import InfiniteSampler
from mmengine.logging import print_log
from torch.utils.data import BatchSampler, Dataset

_TAIL = 4096  # bytes at the end of a picture in which its end mark must lie
_ENDS = {b'\xff\xd8': b'\xff\xd9', b'\x89PNG': b'IEND'}  # JPEG, PNG
_TRIES = 20  # samples in a row that may be broken before it is no accident


class BrokenSampleError(ValueError):
    """A sample cannot be used; says which file and why."""


class Samples(Dataset):
    """A dataset whose random choices are fixed by ``seed`` and by where in a training it is read.

    Args:
        dataset: Of any of the libraries.
        check: Raises a ValueError for a sample, already through the pipeline, that is wrong.
        seed: See :func:`seed_everything`; None leaves all generators alone (evaluation).
        broken: 'stop': a broken sample raises; 'skip': it is logged, and another one, drawn at
            random, takes its place.

    Items are (iteration, place in the batch, index), see :class:`Draws`, or an index alone.

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
        if name == 'dataset':  # while it is unpickled in a worker
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
                return self._load(index)
            except BrokenSampleError as error:
                if self.broken == 'stop':
                    raise
                last = error
                print_log(f'Skipped: {error}', 'current', 30)
                index = random.randrange(len(self))
        raise BrokenSampleError(f'{_TRIES} samples in a row are broken, the last: {last}')

    def _load(self, index: int) -> Any:
        files: list[str] = []
        try:
            files = files_of(self.dataset, index)
            for file in files:
                if why := damage_of(file):
                    raise BrokenSampleError(why)
            sample = self.dataset[index]
            self.check(sample)
        except Exception as error:  # whatever a decoder makes of a broken file
            own = isinstance(error, BrokenSampleError | ValueError)
            why = str(error) if own else f'{type(error).__name__}: {error}'
            where = ', '.join(files) or f'sample {index}'
            raise BrokenSampleError(f'{where}: {why}') from error
        return sample


class Draws(BatchSampler):
    """The batches of a batch sampler, each index with its iteration and place.

    The first pass begins where the training stands, so that a resumed one sees what it would
    have seen, and nothing is decoded to get there.

    Args:
        batch_sampler: Over a finite sampler, or mmengine's endless one.
        seed: Of the order of the data.
        iteration: Tells how many batches the training has had.
        epoch: Passes that are over; None: as the iterations say.
    """

    def __init__(
        self,
        batch_sampler: BatchSampler,
        seed: int,
        iteration: Callable[[], int],
        epoch: int | None = None,
    ) -> None:
        self.batch_sampler, self.iteration = batch_sampler, iteration
        self.sampler: Any = batch_sampler.sampler
        self.batch_size, self.drop_last = batch_sampler.batch_size, batch_sampler.drop_last
        if hasattr(self.sampler, 'seed'):
            self.sampler.seed = seed  # a resumed training's, which was not known before
        self._skipped: int | None = iteration()  # None once the first pass has begun
        self._length, self.epoch = len(batch_sampler), 0
        if not isinstance(self.sampler, InfiniteSampler):
            self.epoch = self._skipped // self._length if epoch is None else epoch
            self._skipped -= self.epoch * self._length

    def __iter__(self) -> Iterator[list]:
        skipped, self._skipped = self._skipped, None
        if isinstance(self.sampler, InfiniteSampler):
            self.sampler.indices = self.sampler._indices_of_rank()  # one for all passes elsewhere
        else:
            self._length = len(self.batch_sampler) - (skipped or 0)
        if skipped is not None and hasattr(self.sampler, 'set_epoch'):
            self.sampler.set_epoch(self.epoch)  # later ones are the loop's to set
        batches = islice(self.batch_sampler, skipped, None)
        for iteration, batch in enumerate(batches, self.iteration()):
            yield [(iteration, place, index) for place, index in enumerate(batch)]

    def __len__(self) -> int:
        """Batches of the pass that runs, fewer in the one that a resumed training begins with."""
        return self._length


def seed_everything(*place: int) -> None:
    """Seeds Python, NumPy and PyTorch by numbers that say where a training stands."""
    seed = int(np.random.SeedSequence(place).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def files_of(dataset: Any, index: int) -> list[str]:
    """The picture or video of a sample, and its annotation; none if the dataset does not tell."""
    if not hasattr(dataset, 'get_data_info'):
        return []
    info = dataset.get_data_info(index)
    names = (info.get(key) for key in ('img_path', 'filename', 'seg_map_path'))
    return [str(name) for name in names if name]


def damage_of(file: str) -> str:
    """Why a file cannot be whole, or '': a decoder takes half a JPEG and paints the rest grey."""
    path = Path(file)
    if '://' in file:
        return ''
    if not path.is_file():
        return 'the file is missing'
    size = path.stat().st_size
    if not size:
        return 'the file is empty'
    with path.open('rb') as opened:
        start = opened.read(4)
        for mark, end in _ENDS.items():
            if start.startswith(mark):
                opened.seek(max(0, size - _TAIL))
                return '' if end in opened.read() else f'the file is cut short at {size} bytes'
    return ''
