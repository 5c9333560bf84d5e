"""Decodes files in processes of their own, since a broken video can end its decoder's process."""

import os
import pickle
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import cv2
import torch

from ..commands import STAMP
from ..datasets.pool import Failure, map_in_processes

_WORKERS = 4


def decode_apart(
    function: Callable[[str], Any], files: Sequence[str], timeout: float = 300
) -> list[Any]:
    """What a function returns for each file; a ``Failure`` where it raised or its process died.

    Args:
        function: A function of a path; what it returns travels through a pipe.
        files: Paths.
        timeout: The most seconds that a file may take.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(0)  # a forked process must not wait for threads that it does not have
    try:
        workers = min(len(set(files)), os.cpu_count() or 1, _WORKERS)
        job = partial(_pickled, function)
        found = dict(map_in_processes(job, dict.fromkeys(files), workers, timeout))
    finally:
        cv2.setNumThreads(threads)
    results = (found[file] for file in files)
    return [one if isinstance(one, Failure) else pickle.loads(one) for one in results]


def told(failure: Failure) -> str:
    """Why a decoder failed, in one line."""
    lines = STAMP.sub('', failure.reason).removeprefix('UnreadableError: ').splitlines()
    return next((line.strip() for line in lines if line.strip()), '')


def _pickled(function: Callable[[str], Any], file: str) -> bytes:
    torch.set_num_threads(1)  # those of the parent are not here
    return pickle.dumps(function(file))  # by itself it would lie in memory that ends with us
