"""The order of a training's data, as a function of where the training stands."""

import random
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any
from weakref import WeakSet

import numpy as np
import torch
from mmengine.dataset import InfiniteSampler
from mmengine.runner.loops import _InfiniteDataloaderIterator
from torch.utils.data import DataLoader, Dataset

from .passes import Batches, Pass, Reader, sampler_of


class Draws(Batches):
    """The batches of one pass, each index with the iteration that it is for, and its place.

    Whatever a sampler draws at random, by its own generators or by the global ones, follows from
    seed and pass, and moves nothing outside.

    Args:
        batch_sampler: Over a finite sampler, or mmengine's endless one.
        first: Index of the batch to begin with.
        seed: What the order of the data follows from.
        number: Returns how many passes are over.
        iteration: Returns how many batches the training has had.
        generators: The sampler's own generators, each with the seed that it was given.
    """

    def __init__(
        self,
        batch_sampler: Any,
        first: int,
        seed: int,
        number: Callable[[], int],
        iteration: Callable[[], int],
        generators: tuple[tuple[torch.Generator, int], ...] = (),
    ) -> None:
        super().__init__(batch_sampler, first)
        self.seed, self.number, self.iteration = seed, number, iteration
        self.generators = generators

    def __iter__(self) -> Iterator[list]:
        sampler: Any = getattr(self.batch_sampler, 'sampler', None)
        if is_endless(sampler):
            sampler.indices = sampler._indices_of_rank()  # mmengine keeps one for all passes
        for generator, seed in self.generators:
            generator.manual_seed(_number(seed, self.number()))
        batches = _drawn_apart(self.batch_sampler, _number(self.seed, self.number()))
        for iteration, batch in enumerate(islice(batches, self.first, None), self.iteration()):
            yield [(iteration, place, index) for place, index in enumerate(batch)]


class TrainingReader(Reader):
    """Opens the passes of a training.

    Args:
        samples: Wraps a dataset, its items being those of :class:`Draws`.
        collate: Wraps a collate function.
        seed: What the order of the data follows from, the same in all processes.
        loop: The training's loop, with ``dataloader``.
        iteration: Returns how many batches the training has had.

    Attributes:
        number: How many passes are over.
        began: The iteration in which the pass that runs began, with its first batch.
    """

    def __init__(
        self,
        samples: Callable[[Dataset], Dataset],
        collate: Callable[[Callable], Callable],
        seed: int,
        loop: Any,
        iteration: Callable[[], int],
    ) -> None:
        super().__init__(samples, collate)
        self.seed, self.loop, self.iteration = seed, loop, iteration
        self.number = self.began = 0
        self._seeded: WeakSet[Any] = WeakSet()
        self._generators: dict[torch.Generator, int] = {}  # PyTorch 2.6 has no weak ones

    def successor(self, loader: DataLoader) -> DataLoader | None:
        """The data loader that the loop has now."""
        return self.loop.dataloader

    def batches(self, loader: DataLoader, first: int) -> Draws:
        """The batches of a pass, from one on."""
        sampler = sampler_of(loader)
        if hasattr(sampler, 'seed') and sampler not in self._seeded:
            sampler.seed = self.seed  # a resumed training's seed, unknown when this was built
            self._seeded.add(sampler)
        owned = [*_attributes(loader.batch_sampler), *_attributes(sampler)]
        generators = [each for each in owned if isinstance(each, torch.Generator)]
        for generator in generators:
            self._generators.setdefault(generator, generator.initial_seed())
        return Draws(
            loader.batch_sampler,
            first,
            self.seed,
            lambda: self.number,
            self.iteration,
            tuple((each, self._generators[each]) for each in generators),
        )


class Endless(_InfiniteDataloaderIterator):
    """The batches of an iteration-based loop, pass after pass.

    Args:
        reader: Opens the passes.

    Attributes:
        first: The batch of the first pass to begin with.
        passed_by: Batches that the loop takes before that, to get where it was stopped.
    """

    def __init__(self, reader: TrainingReader) -> None:
        self._reader = reader
        self._iterator: Any = None
        self.first = self.passed_by = 0

    def skip_iter(self, num_iters: int) -> None:
        """Takes nothing: ``first`` says where to begin. onedl-mmengine asks, mmengine takes."""
        self.passed_by = 0

    def __next__(self) -> Any:
        if self.passed_by:
            self.passed_by -= 1
            return None
        if self._iterator is None:
            self._open(self.first)
        try:
            return next(self._iterator)
        except StopIteration:
            self._reader.number += 1
            self._reader.began = self._reader.iteration()
            self._open(0)
            return next(self._iterator)

    def _open(self, first: int) -> None:
        loader = self._reader.loop.dataloader
        sampler: Any = sampler_of(loader)
        if hasattr(sampler, 'set_epoch'):
            sampler.set_epoch(self._reader.number)
        if self._iterator is not None and self._iterator.lasts(loader):
            self._reader.begin(loader, first)
            self._iterator._reset(loader)
        else:
            self._iterator = None  # its workers end before others begin
            self._iterator = Pass(self._reader, loader, first)


def is_endless(sampler: Any) -> bool:
    """Whether a sampler is mmengine's InfiniteSampler, or one that is built like it."""
    return isinstance(sampler, InfiniteSampler) or hasattr(sampler, '_indices_of_rank')


def _attributes(owner: Any) -> list:
    return list(getattr(owner, '__dict__', {}).values())


def _number(*place: int) -> int:
    return int(np.random.SeedSequence(place).generate_state(1)[0])


def _drawn_apart(batches: Any, seed: int) -> Iterator[Any]:
    """Batches whose sampler has the global generators to itself while it draws."""
    inside: tuple = (
        random.Random(seed).getstate(),
        np.random.RandomState(seed).get_state(),
        torch.Generator().manual_seed(seed).get_state(),
    )
    iterator = None
    while True:
        outside = _states()
        _set_states(inside)
        try:
            iterator = iter(batches) if iterator is None else iterator
            batch = next(iterator)
        except StopIteration:
            return
        finally:
            inside = _states()
            _set_states(outside)
        yield batch


def _states() -> tuple:
    return random.getstate(), np.random.get_state(), torch.get_rng_state()


def _set_states(states: tuple) -> None:
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
