"""Maps a function over items in processes that may die, as a broken file can kill a decoder.

concurrent.futures gives up a whole pool when one of its processes dies, cannot say at which item,
and has no time limit for an item; multiprocessing.Pool waits for ever for a process that died.
pebble knows both, and makes a future for each of a million items at once. Here a process holds one
item at a time, so that its death is that item's result.
"""

import faulthandler
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from multiprocessing.connection import wait
from typing import Any

# fork, as OpenMMLab's data loaders do: spawn imports PyTorch again for every process. On macOS the
# system's libraries do not survive a fork
CONTEXT: Any = get_context('fork' if sys.platform == 'linux' else 'spawn')
_MOST = 31 if sys.platform == 'win32' else 1000  # Windows waits for 63 things at a time


@dataclass(frozen=True)
class Failure:
    """What takes the place of a result that there is not: the reason."""

    reason: str


def map_in_processes(
    function: Callable[[Any], Any], items: Iterable[Any], workers: int, timeout: float = 300
) -> Iterator[tuple[Any, Any]]:
    """Yields each item with its result, as they become ready.

    Args:
        function: Runs in the processes; what it writes to stderr is dropped.
        items: The function's arguments; small, as they travel through a pipe.
        workers: Number of processes, at least 1.
        timeout: Seconds after which a process that has not finished its item is killed.

    Yields:
        Item and result, or :class:`Failure` where the function raised, took too long, or took
        its process along.
    """
    queue = iter(items)
    pool = [_Worker(function, item) for item in islice(queue, min(workers, _MOST))]
    try:
        while pool:
            # a process that ends before it has begun may leave its connection open (Windows)
            either = [(worker.connection, worker.process.sentinel) for worker in pool]
            ready = set(wait([each for pair in either for each in pair], min(timeout / 4, 1)))
            for worker, pair in zip(list(pool), either, strict=True):
                if ready.intersection(pair):
                    yield worker.item, worker.take()
                    try:
                        worker.give(next(queue))
                    except StopIteration:
                        pool.remove(worker)
                        worker.stop()
                elif time.monotonic() - worker.since > timeout:
                    worker.reason = f'was stopped after {timeout:g} s'
                    worker.process.kill()  # it is ready then
    finally:
        for worker in pool:
            worker.stop()


class _Worker:
    """A process, replaced when it has died, and the item that it works on."""

    def __init__(self, function: Callable[[Any], Any], item: Any) -> None:
        self.function = function
        self._start()
        self.give(item)

    def give(self, item: Any) -> None:
        if self.connection.closed:
            self._start()
        self.item, self.since, self.reason = item, time.monotonic(), ''
        with suppress(OSError):  # it has died since; take() says so
            self.connection.send(item)

    def take(self) -> Any:
        try:
            if self.connection.poll():
                return self.connection.recv()
            raise EOFError
        except (EOFError, OSError):
            self.process.join()
            code = self.process.exitcode
            name = signal.Signals(-code).name if code < 0 else f'exit code {code}'
            self.stop()
            return Failure(self.reason or f'killed the process that decoded it ({name})')

    def stop(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.join()

    def _start(self) -> None:
        self.connection, theirs = CONTEXT.Pipe()
        self.process = CONTEXT.Process(
            target=_serve, args=(self.function, theirs, self.connection), daemon=True
        )
        self.process.start()
        theirs.close()  # so that the end of the process ends the connection


def _serve(function: Callable[[Any], Any], connection: Any, parents: Any) -> None:
    parents.close()  # so that the end of the parent ends the connection
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
    faulthandler.disable()  # a decoder that dies is told of by ``take``
    with open(os.devnull, 'wb') as nowhere:
        os.dup2(nowhere.fileno(), 2)  # decoders complain there, in the midst of a progress bar
    with suppress(EOFError, OSError):
        while True:
            item = connection.recv()
            try:
                result = function(item)
            except Exception as error:
                result = Failure(f'{type(error).__name__}: {error}')
            connection.send(result)
