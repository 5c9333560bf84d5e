"""Trains runs of a suite as submitit's jobs, a few at a time."""

import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..commands import pip_install
from .job import RESULT, Commands, about, last_lines, read_result, train_run, write_result
from .suite import Run, Suite

States = dict[str, str]  # by a run's name: 'done', 'failed', 'running' or 'waiting'


@dataclass(frozen=True)
class Machine:
    """Where trainings run.

    Attributes:
        jobs: How many run at a time; on one machine they share its cores and GPUs.
        cluster: submitit's executor: 'local', 'slurm', or 'debug', which is in this process.
        options: submitit's parameters: ``slurm_partition``, ``gpus_per_node``, ...
    """

    jobs: int = 1
    cluster: str = 'local'
    options: Mapping[str, Any] | None = None


class Queue:
    """Trains runs of a suite.

    Args:
        suite: The suite.
        folder: The folder of its runs, where submitit keeps its files, too.
        commands: What trains and tests.
        machine: Where the trainings run.

    Raises:
        ModuleNotFoundError: submitit is not installed.
        ValueError: ``machine`` has no job, options that submitit does not know, or no Slurm; or
            this is Windows.
    """

    def __init__(self, suite: Suite, folder: Path, commands: Commands, machine: Machine) -> None:
        if machine.jobs < 1:
            raise ValueError(f'jobs must be at least 1, got {machine.jobs}')
        if sys.platform == 'win32':  # submitit's jobs live by POSIX signals, ours by a lock
            raise ValueError(
                'suites are trained on Linux and macOS; on Windows use WSL, or train the configs '
                'one by one. Reports and tables of results are made on Windows, too'
            )
        try:
            import submitit
        except ModuleNotFoundError:
            raise ModuleNotFoundError(
                f'suites need submitit: {pip_install("ssn-mm[suites]")}', name='submitit'
            ) from None
        if machine.cluster == 'slurm' and not shutil.which('sbatch'):
            raise ValueError(
                "cluster 'slurm' needs Slurm's sbatch on the path; 'local' needs nothing"
            )
        self._suite, self._commands = suite, commands
        self._pause = 0.0 if machine.cluster == 'debug' else 0.5
        self._free = _portions(machine, commands)
        self._executor = submitit.AutoExecutor(folder / '.submitit' / '%j', machine.cluster)
        options = dict(machine.options or {})
        try:
            self._executor.update_parameters(**(dict(timeout_min=60 * 24 * 14) | options))
        except NameError as error:  # submitit's, of a parameter that it does not know
            raise ValueError(f'cluster options {options}: {error}') from None

    def train(
        self,
        runs: Sequence[Run],
        place: Callable[[Run], Path],
        states: States,
        tell: Callable[[States], None],
    ) -> None:
        """Trains runs until each has a result; a run waits for the one that it starts from.

        Args:
            runs: What to train.
            place: The folder of a run.
            states: The states of all runs of the suite, which are kept up to date.
            tell: Called about twice a second with the states.
        """
        waiting, running = list(runs), dict[str, tuple[Run, Any, dict[str, str]]]()
        states |= {run.name: 'waiting' for run in waiting}
        try:
            while waiting or running:
                for run in _ready(waiting, states)[: len(self._free)]:
                    waiting.remove(run)
                    own, portion = place(run), self._free.pop(0)
                    (own / RESULT).unlink(missing_ok=True)  # failed, stale, or of another start
                    arguments = (self._suite, run, own, self._commands, portion)
                    job = self._executor.submit(train_run, *arguments)
                    running[run.name] = (run, job, portion)
                    states[run.name] = 'running'
                for name, (run, job, portion) in list(running.items()):
                    if job.done():
                        del running[name]
                        self._free.append(portion)
                        states[name] = self._result(run, place(run), job)
                tell(states)
                time.sleep(self._pause)
        except BaseException:
            for _, job, _ in running.values():
                job.cancel(check=False)
            raise

    def _result(self, run: Run, folder: Path, job: Any) -> str:
        """The state of a job that ended; one that died without a result gets one."""
        error = job.exception()
        result = read_result(folder)
        if error is None and result is not None:
            return result['status']
        words = str(error).strip().splitlines() or [repr(error)]
        result = about(self._suite, run) | dict(error=f'its job died: {words[-1]}')
        write_result(folder, result | dict(last_lines=last_lines(folder)))
        return 'failed'


def _portions(machine: Machine, commands: Commands) -> list[dict[str, str]]:
    """What each job at a time has of this machine; they share GPUs once there are too few."""
    jobs = machine.jobs
    if machine.cluster == 'slurm':
        return [{} for _ in range(jobs)]
    processes = int(commands.gpus[0]) if commands.gpus else 1  # of each job, which share its cores
    threads = str(max(1, (os.cpu_count() or 1) // (jobs * processes)))
    portions = [dict(OMP_NUM_THREADS=threads) for _ in range(jobs)]
    shown = os.environ.get('CUDA_VISIBLE_DEVICES')
    gpus = shown.split(',') if shown else [str(i) for i in range(torch.cuda.device_count())]
    each = min(len(gpus), processes)
    for job, portion in enumerate(portions if gpus else ()):
        own = [gpus[(job * each + i) % len(gpus)] for i in range(each)]
        portion['CUDA_VISIBLE_DEVICES'] = ','.join(own)
    return portions


def _ready(waiting: Sequence[Run], states: Mapping[str, str]) -> list[Run]:
    """Runs whose start is there, or will never be."""
    return [run for run in waiting if states.get(run.after or '') not in ('waiting', 'running')]
