"""Trains the runs of a suite on submitit, a few at a time, and again after any interruption."""

import fcntl
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .benchmark_rows import environment, write_atomically
from .demos import read_run
from .suite import Run, Suite, data_fingerprint, fingerprint

RESULT, OUTPUT, LOCK = 'result.json', 'output.txt', '.lock'
Result = dict[str, Any]


def train_run(command: Sequence[str], run: Run, metric: str, folder: Path) -> None:
    """Trains one run, in a job; its folder then holds a result, of a failure too.

    A training that a killed driver left behind is waited for. One that was cut short starts anew,
    so that its result is that of a run nobody disturbed.

    Args:
        command: What trains: ``python tools/train.py``.
        run: What to train.
        metric: Key of a validation's scalars.
        folder: Of the run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    marks = fingerprint(run)
    with (folder / LOCK).open('w') as lock:
        fcntl.flock(
            lock, fcntl.LOCK_EX
        )  # the training inherits it, and outlives this job by kill -9
        done = read_result(folder)
        if done and done['status'] == 'done' and done['fingerprint'] == marks:
            return
        for path in folder.iterdir():
            if path.name != LOCK:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        options = [f'{key}={_as_option(value)}' for key, value in run.options.items()]
        arguments = [
            *command,
            str(run.config),
            '--work-dir',
            str(folder),
            '--cfg-options',
            *options,
        ]
        began = time.monotonic()
        with (folder / OUTPUT).open('w') as output:
            process = subprocess.Popen(
                arguments,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                pass_fds=[lock.fileno()],
            )
            code = _wait(process)
        result: Result = dict(
            run=run.name, label=run.label, variant=run.variant, seed=run.seed, metric=metric
        )
        result |= dict(status='done', seconds=round(time.monotonic() - began, 1))
        result |= dict(fingerprint=marks, data=data_fingerprint(run))
        result['environment'] = environment(seed=run.seed)
        if code:
            last = (folder / OUTPUT).read_text(errors='replace').splitlines()[-15:]
            result |= dict(status='failed', error=f'exit code {code}', last_lines=last)
        else:
            try:
                result |= read_run(folder, metric)
            except ValueError as error:
                result |= dict(status='failed', error=str(error), last_lines=[])
        write_atomically(folder / RESULT, (json.dumps(result, indent=1) + '\n').encode())


def read_result(folder: Path) -> Result | None:
    """What :func:`train_run` wrote; None where it has not."""
    file = folder / RESULT
    return json.loads(file.read_text()) if file.is_file() else None


def plan(suite: Suite, folder: Path, stale: str) -> tuple[list[Run], list[str]]:
    """Which runs are to be trained.

    Args:
        suite: The suite.
        folder: Of its runs.
        stale: What to do with results of another code, config or PyTorch: 'refuse', 'keep' or
            'rerun'.

    Returns:
        The runs, and the names of those that are kept though stale.

    Raises:
        ValueError: There are stale results, and they are refused.
    """
    to_do, other = [], {}
    for run in suite.runs:
        result = read_result(folder / run.name)
        if result is None or result['status'] != 'done':
            to_do.append(run)
        elif differing := _differences(result['fingerprint'], fingerprint(run)):
            other[run.name] = ', '.join(differing)
            if stale == 'rerun':
                to_do.append(run)
    if other and stale == 'refuse':
        told = '; '.join(f'{name} ({what})' for name, what in list(other.items())[:5])
        raise ValueError(
            f'{len(other)} results in {folder} are of another version than now: {told}. Train them '
            'again with --stale rerun, or mix them, which the report will say, with --stale keep'
        )
    return to_do, list(other) if stale == 'keep' else []


def run_suite(
    suite: Suite,
    folder: Path,
    command: Sequence[str],
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
        command: As for :func:`train_run`.
        jobs: At a time.
        cluster: submitit's executor: 'local' or 'slurm'.
        cluster_options: submitit's parameters: ``slurm_partition``, ``gpus_per_node``, ...
        stale: As for :func:`plan`.
        tell: Called about once a second with the state of every run, by name: 'done', 'failed',
            'running' or 'waiting'.

    Raises:
        ValueError: As :func:`plan`, or ``jobs`` below 1.
    """
    import submitit  # an extra of its own

    if jobs < 1:
        raise ValueError(f'jobs must be at least 1, got {jobs}')
    waiting, kept = plan(suite, folder, stale)
    executor = submitit.AutoExecutor(folder / '.submitit' / '%j', cluster=cluster)
    executor.update_parameters(timeout_min=60 * 24 * 14, **(cluster_options or {}))
    running: dict[str, Any] = {}
    states = {run.name: 'done' for run in suite.runs} | {run.name: 'waiting' for run in waiting}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                run = waiting.pop(0)
                own = folder / run.name
                running[run.name] = executor.submit(train_run, command, run, suite.metric, own)
                states[run.name] = 'running'
            for name, job in list(running.items()):
                if job.done():
                    del running[name]
                    states[name] = _settle(folder / name, job)
            tell(states)
            time.sleep(0.5)
    except BaseException:
        for job in running.values():
            job.cancel(check=False)
        raise
    results = [read_result(folder / run.name) for run in suite.runs]
    return [result | dict(kept=result['run'] in kept) for result in results if result]


def _settle(folder: Path, job: Any) -> str:
    """The state of a job that ended; one that died without a result gets one."""
    error = job.exception()
    result = read_result(folder)
    if error is None and result is not None:
        return result['status']
    result = (result or {}) | dict(run=folder.name, status='failed', error=f'the job died: {error}')
    result.setdefault('last_lines', [])
    write_atomically(folder / RESULT, (json.dumps(result, indent=1) + '\n').encode())
    return 'failed'


def _wait(process: subprocess.Popen) -> int:
    """Waits for a training; being told to end, ends it first."""

    def end(number: int, frame: Any) -> None:
        process.terminate()
        process.wait()
        sys.exit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _differences(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    return [f'{key} {old.get(key)} then, {new[key]} now' for key in new if old.get(key) != new[key]]


def _as_option(value: Any) -> str:
    """As ``--cfg-options`` reads it."""
    if isinstance(value, list | tuple):
        return '[' + ','.join(map(_as_option, value)) + ']'
    return str(value)
