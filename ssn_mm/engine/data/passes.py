"""Passes over a data loader that can begin at any batch and follow what hooks exchange in it."""

import copy
import logging
from collections.abc import Callable
from itertools import islice
from types import FunctionType
from typing import Any
from weakref import WeakKeyDictionary

from mmengine.logging import print_log
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset

_FEW = 100  # entries of a list, such as a pipeline, are compared one by one up to here


class Reader:
    """Opens passes over loaders, whose datasets it wraps, at any batch.

    A loader that is read by it keeps its dataset, samplers and collate function, and hooks find,
    change and exchange them as ever. What they are is asked when a pass begins, and before
    each batch: once one has changed, the pass goes on with the new one, whether or not workers
    have copies of the old one and have read ahead.

    Args:
        samples: Wraps a dataset.
        collate: Wraps a collate function.
    """

    def __init__(
        self,
        samples: Callable[[Dataset], Dataset],
        collate: Callable[[Callable], Callable] = lambda collate: collate,
    ) -> None:
        self.samples, self.collate = samples, collate
        self._first: WeakKeyDictionary[DataLoader, int] = WeakKeyDictionary()

    def take(self, loader: Any) -> bool:
        """Has every iterator over a loader opened by this reader.

        Returns:
            Whether it can be: streams, and loaders without batches, are left alone.
        """
        if not is_readable(loader):
            return False
        own = vars(loader)  # the loader itself refuses to be changed
        opened_by = getattr(own.get('_get_iterator'), 'reader', None)
        if opened_by is not self:
            own['_get_iterator'] = _Opener(self, loader)
            own['_iterator'] = None  # persistent workers have the old one
        return True

    def begin(self, loader: DataLoader, first: int) -> None:
        """Has the next pass over a loader begin with its batch ``first``."""
        self._first[loader] = first

    def first_of(self, loader: DataLoader) -> int:
        """The batch with which the pass that is opened now begins."""
        return self._first.pop(loader, 0)

    def successor(self, loader: DataLoader) -> DataLoader | None:
        """What a loop may have in this loader's place; None for one that no loop reads."""
        return None

    def batches(self, loader: DataLoader, first: int) -> 'Batches':
        """The indices of a pass, from a batch on."""
        return Batches(loader.batch_sampler, first)


class _Opener:
    def __init__(self, reader: Reader, loader: DataLoader) -> None:
        self.reader, self.loader = reader, loader

    def __call__(self) -> 'Pass':
        return Pass(self.reader, self.loader, self.reader.first_of(self.loader))


class Batches(BatchSampler):
    """The batches of a batch sampler from the one with index ``first`` on."""

    def __init__(self, batch_sampler: Any, first: int) -> None:
        self.batch_sampler, self.first = batch_sampler, first

    def __iter__(self) -> Any:
        return islice(self.batch_sampler, self.first, None)

    def __len__(self) -> int:
        return max(len(self.batch_sampler) - self.first, 0)


class Pass:
    """An iterator over a loader that goes on with what has been exchanged in it.

    Args:
        reader: The reader that opens it.
        loader: A loader of batches, of a dataset with indices.
        first: Index of the batch to begin with.
    """

    def __init__(self, reader: Reader, loader: DataLoader, first: int) -> None:
        self._reader, self._loader = reader, loader
        self._is_followed = reader.successor(loader) is loader
        self._iterator: Any = None
        self._is_warned = False
        self._open(first)

    def __iter__(self) -> 'Pass':
        return self

    def __len__(self) -> int:
        return len(self._loader)

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__') or '_iterator' not in vars(self):
            raise AttributeError(name)
        return getattr(self._iterator, name)

    def __next__(self) -> Any:
        if self._has_changed():
            self._tell_of_change()
            self._open(self.done)
        batch = next(self._iterator)
        self.done += 1
        return batch

    def lasts(self, loader: Any) -> bool:
        """Whether its workers go on to the next pass, if that is over this loader."""
        return loader is self._loader and loader.persistent_workers and loader.num_workers > 0

    def _reset(self, loader: DataLoader, first_iter: bool = False) -> None:
        """Begins the next pass with the same workers, as ``DataLoader`` asks for."""
        first = self._reader.first_of(loader)
        if self._has_changed():
            self._open(first)
        else:
            self.done = self._batches.first = first
            self._iterator._reset(self._as_read, first_iter)

    def _open(self, first: int) -> None:
        loader, self.done = self._now(), first
        self._iterator = None  # its workers end before others begin
        if loader is not self._loader:
            vars(self._loader)['_iterator'] = None  # or this pass and its workers outlast the loop
        self._opened, self._loader, self._parts = first, loader, _parts(loader)
        self._as_read: DataLoader = copy.copy(loader)
        own = vars(self._as_read)
        own['_iterator'] = None
        own.pop('_get_iterator', None)
        if is_readable(loader):
            self._batches: Batches = self._reader.batches(loader, first)
            own['dataset'] = self._reader.samples(loader.dataset)
            own['collate_fn'] = self._reader.collate(loader.collate_fn)
            own['batch_sampler'] = self._batches
        self._iterator = self._as_read._get_iterator()

    def _tell_of_change(self) -> None:
        if self.done != self._opened + 1:
            print_log('The data was exchanged and is read again from here', 'current')
        elif self._loader.num_workers and not self._is_warned:
            self._is_warned = True
            print_log(
                'The data is exchanged at every batch, and its workers begin again each time; '
                'with num_workers=0 that takes no time',
                'current',
                logging.WARNING,
            )

    def _now(self) -> DataLoader:
        return (self._is_followed and self._reader.successor(self._loader)) or self._loader

    def _has_changed(self) -> bool:
        parts = _parts(self._now())
        return len(parts) != len(self._parts) or not all(map(_is_same, parts, self._parts))


def is_readable(loader: Any) -> bool:
    """Whether a loader has batches of indices."""
    return (
        isinstance(loader, DataLoader)
        and loader.batch_sampler is not None
        and not isinstance(loader.dataset, IterableDataset)
    )


def sampler_of(loader: DataLoader) -> Any:
    """The sampler of the indices in a loader's batches; None if its batches have no sampler.

    They have none where ``batch_sampler`` is a plain list of batches.
    """
    return getattr(loader.batch_sampler, 'sampler', None)


def _parts(loader: DataLoader) -> list:
    """What an iterator over a loader has kept since it began; workers have copies of it all."""
    batches = loader.batch_sampler
    found = [loader, loader.dataset, loader.collate_fn, batches, sampler_of(loader)]
    found += [getattr(batches, name, None) for name in ('batch_size', 'drop_last')]
    if loader.num_workers:
        _collect(loader.dataset, found, set())
    return found


def _collect(owner: Any, found: list, seen: set[int]) -> None:
    """Attributes of a dataset, and of the datasets and transforms in it."""
    if id(owner) in seen:
        return
    seen.add(id(owner))
    for value in getattr(owner, '__dict__', {}).values():  # a list is a dataset, too
        short = isinstance(value, list | tuple) and len(value) <= _FEW
        for item in value if short else [value]:
            found.append(item)
            if _may_read(item):
                _collect(item, found, seen)


def _may_read(item: Any) -> bool:
    """Whether something is a dataset or a transform, by what it can do."""
    if isinstance(item, type | FunctionType | Tensor | nn.Module) or not hasattr(item, '__dict__'):
        return False
    return hasattr(item, '__getitem__') or callable(item)


def _is_same(one: Any, other: Any) -> bool:
    simple = bool | int | float | str | bytes
    return one is other or (type(one) is type(other) and isinstance(one, simple) and one == other)
