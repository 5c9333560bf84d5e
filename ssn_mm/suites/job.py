"""One run of a suite: trained in a process of its own, tested, and its result written."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config_files import read_config
from ..engine.work_dir import last_checkpoint
from ..files import write_atomically
from ..timing.rows import environment
from .provenance import data_digest, named_now, provenance_of, weights_digest
from .suite import Run, Suite
from .tidying import facts_of
from .training import METRICS, read_training

RESULT, OUTPUT, LOCK = 'result.json', 'output.txt', '.lock'
Result = dict[str, Any]


@dataclass(frozen=True)
class Commands:
    """The commands that train and test: tools/train.py and tools/test.py, or distributed.

    Attributes:
        train: The words before the config, such as ``('python', 'tools/train.py')``.
        test: The words before config and checkpoint.
        gpus: The word that follows them, their number of GPUs, where the tools are distributed.
    """

    train: Sequence[str]
    test: Sequence[str]
    gpus: Sequence[str] = ()


def train_run(
    suite: Suite, run: Run, folder: Path, commands: Commands, portion: Mapping[str, str]
) -> None:
    """Trains one run, in a job; its folder then holds a result, of a failure too.

    A training that a killed driver left behind is waited for. One that was cut short begins again
    from its start, so that its result is that of a run nobody disturbed.

    Args:
        suite: The suite that the run belongs to.
        run: What is trained.
        folder: The run's own, which is emptied unless it holds a result of today's provenance.
        commands: What trains and tests.
        portion: Variables of the environment that give it its part of the machine.
    """
    import fcntl  # noqa: TID251, Queue refuses Windows; results are read there, too

    folder.mkdir(parents=True, exist_ok=True)
    own = provenance_of(read_config(run.config, run.options))
    with (folder / LOCK).open('wb') as lock:
        # the training inherits the lock, and keeps it should this job be killed
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = read_result(folder)
        if done and done['status'] == 'done' and done['provenance'] == own:
            return
        for path in folder.iterdir():
            if path.name != LOCK:
                is_folder = path.is_dir() and not path.is_symlink()
                shutil.rmtree(path) if is_folder else path.unlink()
        result = about(suite, run) | dict(provenance=own)
        try:
            result |= _train(suite, run, folder, commands, portion, lock.fileno())
        except (OSError, ValueError) as error:
            result |= dict(error=str(error), last_lines=last_lines(folder))
        result['environment'] = environment(seed=run.seed)
        if threads := portion.get('OMP_NUM_THREADS'):  # the training's, not this job's
            result['environment']['threads'] = int(threads)
        write_result(folder, result)


def write_result(folder: Path, result: Result) -> None:
    """Writes the result of a run into its folder, atomically."""
    write_atomically(folder / RESULT, (json.dumps(result) + '\n').encode())


def read_result(folder: Path) -> Result | None:
    """What :func:`write_result` wrote into the folder of a run; None where it has not."""
    file = folder / RESULT
    return named_now(_read_json(file)) if file.is_file() else None


def check_own(folder: Path) -> None:
    """Checks that a folder, which a run empties before it begins, is a run's or a new one.

    Raises:
        ValueError: The folder is a file, or holds what no run of a suite has left there.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f'{folder} is a file, and a run needs a folder there; move it')
    own = any((folder / name).exists() for name in (LOCK, RESULT))
    if folder.is_dir() and not own and any(folder.iterdir()):
        raise ValueError(
            f'{folder} holds files that no run of a suite has written, and would be emptied; move '
            'them, or give another --work-dir'
        )


def _read_json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text('utf-8', 'replace'))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ValueError(f'{file} holds no JSON object; restore it, or remove it to run again')
    return found


def about(suite: Suite, run: Run) -> Result:
    """The beginning of a run's result: what it is, as failed before it measured anything."""
    own = dict(suite=suite.name, run=run.name, label=run.label, variant=run.variant, seed=run.seed)
    return own | dict(config=run.config.name, status='failed')


def last_lines(folder: Path) -> list[str]:
    """The last fifteen lines that a run has printed."""
    output = folder / OUTPUT
    return output.read_text('utf-8', 'replace').splitlines()[-15:] if output.is_file() else []


def _train(
    suite: Suite,
    run: Run,
    folder: Path,
    commands: Commands,
    portion: Mapping[str, str],
    lock: int,
) -> Result:
    """Trains, tests and reads what was reached; raises ValueError where anything fails."""
    cfg = read_config(run.config, run.options)
    if run.after is not None:
        first = read_result(folder.with_name(run.after))
        if first is None or first['status'] != 'done':
            raise ValueError(f'{run.after}, which it starts from, is not done')
        cfg.load_from = last_checkpoint(folder.with_name(run.after))
    config = folder / f'{run.config.stem}.py'
    cfg.dump(config)
    began = time.monotonic()
    command = [*commands.train, config, *commands.gpus, '--work-dir', folder]
    _call('training', command, folder, portion, lock)
    result: Result = dict(status='done', seconds=round(time.monotonic() - began, 1))
    result |= dict(data=data_digest(cfg), **facts_of(cfg), **read_training(folder, suite.metrics))
    checkpoint = last_checkpoint(folder)
    result['trained'] = weights_digest(checkpoint) if checkpoint else ''
    if suite.test is not None:
        place = folder / 'test'
        command = [*commands.test, config, checkpoint, *commands.gpus, '--work-dir', place]
        _call('test', [*command, *suite.test], folder, portion, lock)
        result['metrics'] = _read_test(place, suite.metrics)
    if result['memory'] is None:  # no GPU: of the largest process
        result['memory'] = _peak()
    return result


def _peak() -> int:
    """The most memory that a process of this job has had, in MiB."""
    import resource  # noqa: TID251, not on Windows

    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return round(peak / (2**20 if sys.platform == 'darwin' else 2**10))  # of bytes, else of KiB


def _call(
    what: str, command: Sequence[Any], folder: Path, portion: Mapping[str, str], lock: int
) -> None:
    """Runs a command, its output in the folder; a signal to end ends it first."""
    port = str(_free_port())  # of a distributed training; another may run beside it
    # modules of a project lie in the current folder, which `python -m` searches and a script not
    places = [os.getcwd(), *filter(None, [os.environ.get('PYTHONPATH')])]
    own = dict(PORT=port, PYTHONPATH=os.pathsep.join(places))

    def end(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)  # to wait here would deadlock with the wait that it disturbs

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with (folder / OUTPUT).open('ab') as output:
            process = subprocess.Popen(
                [str(part) for part in command],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **own, **portion},
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
    """The metrics that mmengine's test wrote into <work dir>/<time>/<time>.json."""
    (file,) = [path for path in place.glob('*/*.json') if path.stem == path.parent.name]
    found = _read_json(file)
    if missing := [key for key in metrics if key not in found]:
        raise ValueError(f'{file} has no {", ".join(missing)}')
    named = {key: METRICS.get(key, (key, 1)) for key in metrics}
    return {name: round(found[key] * percent, 3) for key, (name, percent) in named.items()}
