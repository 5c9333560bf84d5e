"""Trains the runs of a suite on submitit, a few at a time, and again after any interruption."""

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ..commands import pip_install
from ..files import write_atomically
from .job import (
    RESULT,
    Commands,
    Result,
    about,
    check_own,
    last_lines,
    read_result,
    train_run,
    versions_of,
)
from .provenance import differences
from .suite import Run, Suite


def run_suite(
    suite: Suite,
    folder: Path,
    commands: Commands,
    jobs: int = 1,
    cluster: str = 'local',
    cluster_options: Mapping[str, Any] | None = None,
    stale: str = 'refuse',
    tell: Callable[[dict[str, str]], None] = lambda states: None,
) -> list[Result]:
    """Trains what is not done yet; returns all results in the order of the suite.

    Args:
        suite: The suite.
        folder: Of its runs.
        commands: What trains and tests.
        jobs: At a time; on one machine they share its cores and GPUs.
        cluster: submitit's executor: 'local', 'slurm', or 'debug', which is in this process.
        cluster_options: submitit's parameters: ``slurm_partition``, ``gpus_per_node``, ...
        stale: As for :func:`plan`.
        tell: Called about twice a second with the state of every run, by name: 'done', 'failed',
            'running' or 'waiting'.

    Raises:
        ValueError: As :func:`plan`, ``jobs`` below 1, no Slurm, or unknown options of the cluster.
        ModuleNotFoundError: submitit is not installed.
    """
    if jobs < 1:
        raise ValueError(f'jobs must be at least 1, got {jobs}')
    try:
        import submitit
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            f'suites need submitit: {pip_install("ssn-mm[suites]")}', name='submitit'
        ) from None
    if cluster == 'slurm' and not shutil.which('sbatch'):
        raise ValueError("cluster 'slurm' needs Slurm's sbatch on the path; 'local' needs nothing")
    waiting = plan(suite, folder, stale)
    executor = submitit.AutoExecutor(folder / '.submitit' / '%j', cluster=cluster)
    limits = dict(timeout_min=60 * 24 * 14) | dict(cluster_options or {})
    try:
        executor.update_parameters(**limits)
    except NameError as error:  # submitit's, of a parameter that it does not know
        raise ValueError(f'cluster options {dict(cluster_options or {})}: {error}') from None
    free = _portions(jobs, commands, cluster)
    running: dict[str, tuple[Run, Any, dict[str, str]]] = {}
    states = {run.name: 'done' for run in suite.runs} | {run.name: 'waiting' for run in waiting}
    try:
        while waiting or running:
            for run in _ready(waiting, states)[: len(free)]:
                waiting.remove(run)
                own, portion = folder / run.name, free.pop(0)
                (own / RESULT).unlink(missing_ok=True)  # failed, stale, or of another start
                job = executor.submit(train_run, suite, run, own, commands, portion)
                running[run.name] = (run, job, portion)
                states[run.name] = 'running'
            for name, (run, job, portion) in list(running.items()):
                if job.done():
                    del running[name]
                    free.append(portion)
                    states[name] = _settle(suite, run, folder / name, job)
            tell(states)
            time.sleep(0.0 if cluster == 'debug' else 0.5)
    except BaseException:
        for _, job, _ in running.values():
            job.cancel(check=False)
        raise
    return results_of(suite, folder)


def plan(suite: Suite, folder: Path, stale: str = 'refuse') -> list[Run]:
    """Which runs are to be trained: those not done, and those that start from one of these.

    Args:
        suite: The suite.
        folder: Of its runs.
        stale: What to do with results of another code, config or library: 'refuse', 'keep' or
            'rerun'.

    Raises:
        ValueError: There are stale results, and they are refused; or a folder of a run holds
            somebody else's files.
    """
    to_do, other = [], {}
    for run in suite.runs:
        result = read_result(folder / run.name)
        if result is None or result['status'] != 'done':
            to_do.append(run)
        elif differing := differences(result['versions'], versions_of(run)):
            other[run.name] = ', '.join(differing)
            if stale == 'rerun':
                to_do.append(run)
    if other and stale == 'refuse':
        told = '; '.join(f'{name} ({what})' for name, what in list(other.items())[:5])
        raise ValueError(
            f'{len(other)} results in {folder} are of another version than now: {told}. Train them '
            'again with --stale rerun, or mix them, which tables will say, with --stale keep'
        )
    names = {run.name for run in to_do}
    planned = [run for run in suite.runs if run.name in names or run.after in names]
    for run in planned:
        check_own(folder / run.name)
    return planned


def results_of(suite: Suite, folder: Path) -> list[Result]:
    """Results of all runs that have one, in the order of the suite."""
    return [result for run in suite.runs if (result := read_result(folder / run.name))]


def _portions(jobs: int, commands: Commands, cluster: str) -> list[dict[str, str]]:
    """What each job at a time has of this machine; they share GPUs once there are too few."""
    if cluster == 'slurm':
        return [{} for _ in range(jobs)]
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    portions = [dict(OMP_NUM_THREADS=threads) for _ in range(jobs)]
    shown = os.environ.get('CUDA_VISIBLE_DEVICES')
    gpus = shown.split(',') if shown else [str(i) for i in range(torch.cuda.device_count())]
    each = min(len(gpus), int(commands.gpus[0]) if commands.gpus else 1)
    for job, portion in enumerate(portions if gpus else ()):
        own = [gpus[(job * each + i) % len(gpus)] for i in range(each)]
        portion['CUDA_VISIBLE_DEVICES'] = ','.join(own)
    return portions


def _ready(waiting: Sequence[Run], states: Mapping[str, str]) -> list[Run]:
    """Those whose start is there, or will never be."""
    return [run for run in waiting if states.get(run.after or '') not in ('waiting', 'running')]


def _settle(suite: Suite, run: Run, folder: Path, job: Any) -> str:
    """The state of a job that ended; one that died without a result gets one."""
    error = job.exception()
    result = read_result(folder)
    if error is None and result is not None:
        return result['status']
    words = str(error).strip().splitlines() or [repr(error)]
    result = about(suite, run) | dict(error=f'its job died: {words[-1]}')
    result['last_lines'] = last_lines(folder)
    write_atomically(folder / RESULT, (json.dumps(result) + '\n').encode())
    return 'failed'
