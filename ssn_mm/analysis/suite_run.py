"""Trains the runs of a suite on submitit, a few at a time, and again after any interruption."""

import fcntl
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.runner import find_latest_checkpoint

from .benchmark_rows import environment, write_atomically
from .suite import Run, Suite
from .training import METRICS, read_training
from .versions import data_version, differences, versions

RESULT, OUTPUT, LOCK = 'result.json', 'output.txt', '.lock'
Result = dict[str, Any]


@dataclass(frozen=True)
class Commands:
    """What trains and tests: tools/train.py and tools/test.py, or their distributed forms.

    Attributes:
        train: Before the config, such as ``('python', 'tools/train.py')``.
        test: Before config and checkpoint.
        gpus: Follows them, where the tools are distributed; else empty.
    """

    train: Sequence[str]
    test: Sequence[str]
    gpus: Sequence[str] = ()


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
            "suites need submitit: pip install 'ssn-mm[suites]'", name='submitit'
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
        ValueError: There are stale results, and they are refused.
    """
    to_do, other = [], {}
    for run in suite.runs:
        result = read_result(folder / run.name)
        if result is None or result['status'] != 'done':
            to_do.append(run)
        elif differing := differences(result['versions'], _versions(run)):
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
    return [run for run in suite.runs if run.name in names or run.after in names]


def train_run(
    suite: Suite, run: Run, folder: Path, commands: Commands, portion: Mapping[str, str]
) -> None:
    """Trains one run, in a job; its folder then holds a result, of a failure too.

    A training that a killed driver left behind is waited for. One that was cut short starts anew,
    so that its result is that of a run nobody disturbed. ``portion`` is added to its environment.
    """
    folder.mkdir(parents=True, exist_ok=True)
    own = _versions(run)
    with (folder / LOCK).open('w') as lock:
        # the training inherits the lock, and keeps it should this job be killed
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = read_result(folder)
        if done and done['status'] == 'done' and done['versions'] == own:
            return
        for path in folder.iterdir():
            if path.name != LOCK:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        result = _about(suite, run) | dict(versions=own)
        try:
            result |= _train(suite, run, folder, commands, portion, lock.fileno())
        except (OSError, ValueError) as error:
            result |= dict(error=str(error), last_lines=_last_lines(folder))
        result['environment'] = environment(seed=run.seed)
        write_atomically(folder / RESULT, (json.dumps(result) + '\n').encode())


def read_result(folder: Path) -> Result | None:
    """What :func:`train_run` wrote; None where it has not."""
    file = folder / RESULT
    return json.loads(file.read_text()) if file.is_file() else None


def results_of(suite: Suite, folder: Path) -> list[Result]:
    """Results of all runs that have one, in the order of the suite."""
    return [result for run in suite.runs if (result := read_result(folder / run.name))]


def _versions(run: Run) -> dict[str, str]:
    return versions(_config(run))


def _config(run: Run) -> Config:
    cfg = Config.fromfile(run.config)
    cfg.merge_from_dict(dict(run.options))
    return cfg


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


def _train(
    suite: Suite,
    run: Run,
    folder: Path,
    commands: Commands,
    portion: Mapping[str, str],
    lock: int,
) -> Result:
    """Raises ValueError where anything fails."""
    cfg = _config(run)
    if run.after is not None:
        first = read_result(folder.with_name(run.after))
        if first is None or first['status'] != 'done':
            raise ValueError(f'{run.after}, which it starts from, is not done')
        cfg.load_from = find_latest_checkpoint(str(folder.with_name(run.after)))
    config = folder / f'{run.config.stem}.py'
    cfg.dump(config)
    began = time.monotonic()
    command = [*commands.train, config, *commands.gpus, '--work-dir', folder]
    _call('training', command, folder, portion, lock)
    result: Result = dict(status='done', seconds=round(time.monotonic() - began, 1))
    result |= dict(data=data_version(cfg), **read_training(folder, suite.metrics))
    if suite.test is not None:
        checkpoint = find_latest_checkpoint(str(folder))
        place = folder / 'test'
        command = [*commands.test, config, checkpoint, *commands.gpus, '--work-dir', place]
        _call('test', [*command, *suite.test], folder, portion, lock)
        result['metrics'] = _read_test(place, suite.metrics)
    if result['memory'] is None:  # no GPU: of the largest process
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        result['memory'] = round(peak / 1024)
    return result


def _call(
    what: str, command: Sequence[Any], folder: Path, portion: Mapping[str, str], lock: int
) -> None:
    """Runs a command, its output in the folder; a signal to end ends it first."""
    port = str(_free_port())  # of a distributed training; another may run beside it

    def end(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)  # to wait here would deadlock with the wait that it disturbs

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with (folder / OUTPUT).open('a') as output:
            process = subprocess.Popen(
                [str(part) for part in command],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, 'PORT': port, **portion},
                pass_fds=[lock],
            )
        try:
            code = process.wait()
        except SystemExit:
            process.terminate()
            process.wait()
            raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if code:
        raise ValueError(f'{what} ended with exit code {code}')


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def _read_test(place: Path, metrics: Sequence[str]) -> dict[str, float]:
    """What mmengine's test wrote: <work dir>/<time>/<time>.json."""
    (file,) = [path for path in place.glob('*/*.json') if path.stem == path.parent.name]
    found = json.loads(file.read_text())
    if missing := [key for key in metrics if key not in found]:
        raise ValueError(f'{file} has no {", ".join(missing)}')
    named = {key: METRICS.get(key, (key, 1)) for key in metrics}
    return {name: round(found[key] * percent, 3) for key, (name, percent) in named.items()}


def _settle(suite: Suite, run: Run, folder: Path, job: Any) -> str:
    """The state of a job that ended; one that died without a result gets one."""
    error = job.exception()
    result = read_result(folder)
    if error is None and result is not None:
        return result['status']
    words = str(error).strip().splitlines() or [repr(error)]
    result = _about(suite, run) | dict(error=f'its job died: {words[-1]}')
    result['last_lines'] = _last_lines(folder)
    write_atomically(folder / RESULT, (json.dumps(result) + '\n').encode())
    return 'failed'


def _about(suite: Suite, run: Run) -> Result:
    own = dict(suite=suite.name, run=run.name, label=run.label, variant=run.variant, seed=run.seed)
    return own | dict(config=run.config.name, status='failed')


def _last_lines(folder: Path) -> list[str]:
    output = folder / OUTPUT
    return output.read_text(errors='replace').splitlines()[-15:] if output.is_file() else []
