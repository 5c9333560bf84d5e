"""Measures competitors side by side in one process.

A round runs every competitor once, in a new order, so that what else the machine does meets all
alike. A ratio is taken within each round and then summarised: its median is what is reported, not
the ratio of two medians, which noise that lasts longer than a round would move.
"""

import gc
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..ops import set_backend

Times = dict[str, dict[str, np.ndarray]]  # competitor → phase → (R,) seconds, one per round
TOTAL = 'total'  # the sum of the phases
QUANTILES = {'p20': 0.2, 'median': 0.5, 'p80': 0.8}


@dataclass(frozen=True)
class Competitor:
    """A computation that is measured.

    Attributes:
        phases: What runs, by name and in order; each phase is timed by itself.
        prepare: What runs before the phases and is not timed, such as setting gradients to None.
        backend: Name of the backend that runs it; None takes the best that is available.
    """

    phases: Mapping[str, Callable[[], object]]
    prepare: Callable[[], object] = lambda: None
    backend: str | None = None


def measure(
    case: Mapping[str, Any],
    competitors: Mapping[str, Competitor | str],
    baselines: Sequence[str],
    device: str = 'cpu',
    memory: bool = True,
    **options: Any,
) -> list[dict[str, Any]]:
    """Measures one case: the time first, then, in a pass of its own, the memory.

    Args:
        case: What the competitors work on, by name; it goes into every row.
        competitors: The competitors by name; a string in the place of one says why it cannot take
            part.
        baselines: Names of those that the others are compared with, where they take part.
        device: 'cpu' or 'cuda'.
        memory: Whether to measure peaks of memory, too.
        **options: Arguments of :func:`interleave`.

    Returns:
        A row per competitor, ready for JSON: ``case``, ``competitor``, ``backend``, ``note``,
        ``rounds``, ``seconds`` {phase: {p20, median, p80}}, ``ratio`` {baseline: {phase: {...}}},
        ``peak_bytes``, ``peak_ratio`` {baseline: number}. What was not measured is None.
    """
    able = {name: c for name, c in competitors.items() if isinstance(c, Competitor)}
    times = interleave(able, device=device, **options)
    peaks = {name: peak_bytes(c, device) for name, c in able.items()} if memory else {}
    there = [base for base in baselines if base in able]
    rows = []
    for name, competitor in competitors.items():
        row: dict[str, Any] = dict(case=dict(case), competitor=name, backend=None, note=None)
        row |= dict.fromkeys(('rounds', 'seconds', 'ratio', 'peak_bytes', 'peak_ratio'))
        if isinstance(competitor, Competitor):
            row['backend'] = competitor.backend
            row['rounds'] = len(times[name][TOTAL])
            row['seconds'] = {phase: quantiles(t) for phase, t in times[name].items()}
            row['ratio'] = {base: compare(times[name], times[base]) for base in there}
        else:
            row['note'] = competitor
        if name in peaks:
            row['peak_bytes'] = peaks[name]
            row['peak_ratio'] = {b: peaks[name] / peaks[b] for b in there if peaks[b]}
        rows.append(row)
    return rows


def interleave(
    competitors: Mapping[str, Competitor],
    *,
    rounds: int = 5,
    seconds: float = 0.0,
    warmup: int = 1,
    calls: int = 1,
    device: str = 'cpu',
    seed: int = 0,
) -> Times:
    """Runs every competitor once per round, in another random order in each round.

    Args:
        competitors: The competitors by name.
        rounds: The least number of rounds that are measured.
        seconds: More rounds follow while the next one will presumably end within this time.
        warmup: Number of rounds before these that are not measured.
        calls: Runs in a row per competitor and round, whose mean counts; more than one for
            computations of microseconds.
        device: 'cpu', or 'cuda', where events on the stream take the time.
        seed: Seed of the orders.

    Returns:
        Seconds of each round, by competitor and phase; ``TOTAL`` is the sum of the phases.

    Raises:
        ValueError: ``rounds`` or ``calls`` below 1, a competitor without phases or with one
            called 'total', or a backend that is not available.
    """
    if rounds < 1 or calls < 1:
        raise ValueError(f'rounds and calls must be at least 1, got {rounds} and {calls}')
    for name, competitor in competitors.items():
        if TOTAL in competitor.phases or not competitor.phases:
            raise ValueError(
                f'{name!r} needs phases, none of them called {TOTAL!r}, which is their sum; '
                f'got {list(competitor.phases)}'
            )
        for _ in range(warmup):
            _warm_up(name, competitor, device)
    order, shuffle = list(competitors), random.Random(seed).shuffle
    laps: dict[str, list[np.ndarray]] = {name: [] for name in order}
    start, done = time.perf_counter(), 0
    with _without_collector():
        while done < rounds or (time.perf_counter() - start) * (done + 1) / done < seconds:
            shuffle(order)
            for name in order:
                laps[name].append(_run(competitors[name], device, calls))
            done += 1
    times: Times = {}
    for name, competitor in competitors.items():
        own = np.stack(laps[name], 1)  # (phases, R)
        times[name] = {**dict(zip(competitor.phases, own, strict=True)), TOTAL: own.sum(0)}
    return times


def quantiles(values: np.ndarray) -> dict[str, float]:
    """The 20 % quantile, median and 80 % quantile of (R,) numbers, as p20, median, p80."""
    return {name: float(np.quantile(values, q)) for name, q in QUANTILES.items()}


def compare(
    own: Mapping[str, np.ndarray], base: Mapping[str, np.ndarray]
) -> dict[str, dict[str, float]]:
    """Quantiles of own / base, divided round by round, per phase.

    A phase that ``base`` lacks is divided by ``base``'s total: a copy has no backward pass.
    """
    return {phase: quantiles(t / base.get(phase, base[TOTAL])) for phase, t in own.items()}


def peak_bytes(competitor: Competitor, device: str = 'cpu') -> int:
    """Peak of live tensor bytes during one run, above what was live when it started.

    On CUDA from the allocator's counter; on the CPU, whose allocator has none, from the profiler's
    record of every allocation, kernels' scratch space included. What was live before and is freed
    during the run counts on CUDA only, so ``prepare`` should free what a run replaces.
    """
    competitor.prepare()
    with _backend(competitor.backend):
        if device == 'cuda':
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            _call(competitor)
            torch.cuda.synchronize()
            return torch.cuda.max_memory_allocated() - before
        with _without_stderr(), torch.autograd.profiler.profile(profile_memory=True) as profile:
            _call(competitor)
    assert profile.kineto_results is not None  # it has run
    events = profile.kineto_results.events()
    moves = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == '[memory]')
    return int(np.cumsum([0, *(size for _, size in moves)]).max())


def _call(competitor: Competitor) -> None:
    for run in competitor.phases.values():
        run()


def _warm_up(name: str, competitor: Competitor, device: str) -> None:
    try:
        _run(competitor, device, 1)
    except (RuntimeError, ValueError) as error:
        if competitor.backend is None:
            raise
        raise ValueError(
            f'{name!r} does not run on the backend {competitor.backend!r}: {error}'
        ) from error


def _run(competitor: Competitor, device: str, calls: int) -> np.ndarray:
    """Mean seconds of each phase over the calls, (phases,)."""
    cuda = device == 'cuda'
    marks: list[Any] = []
    with _backend(competitor.backend):
        for _ in range(calls):
            competitor.prepare()
            if cuda:
                torch.cuda.synchronize()  # what is still queued is not this call's
            marks.append(_mark(cuda))
            for run in competitor.phases.values():
                run()
                marks.append(_mark(cuda))
    if cuda:
        torch.cuda.synchronize()
        marks = [marks[0].elapsed_time(mark) / 1000 for mark in marks]  # from ms
    return np.diff(np.reshape(marks, (calls, -1)), axis=1).mean(0)


def _mark(cuda: bool) -> Any:
    if not cuda:
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


@contextmanager
def _backend(name: str | None) -> Iterator[None]:
    before = set_backend(name or '')
    try:
        yield
    finally:
        set_backend(before)


@contextmanager
def _without_collector() -> Iterator[None]:
    # a collection of all of OpenMMLab's objects lasts longer than many a layer
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def _without_stderr() -> Iterator[None]:
    # the profiler's C++ side logs there, whatever it is told
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
