"""What a training starts from, whichever tool, loop or launcher starts it."""

import logging
import os
import socket
import sys
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from mmengine.dist import all_gather_object, broadcast_object_list
from mmengine.hooks import CheckpointHook, Hook
from mmengine.logging import print_log
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, Runner
from torch import nn

from ..commands import quoted
from ..config_files import entries
from ..layers.state import CODES
from ..weights.content import check_content
from ..weights.files import check_checkpoint
from ..weights.loading import unwrapped
from .data.training_data import check_length
from .loaded import refuse_to_run, watch_loading
from .ratios import RATIOS_FILE
from .restarts import is_restart, launcher
from .work_dir import NAMES, POINTER, WorkDir


class StartHook(Hook):
    """Chooses what a training starts from, see :func:`choose_start`.

    Raises:
        FileNotFoundError: The file to start from is not there.
        ValueError: It is damaged, or cannot be resumed from; or all of the work dir's are damaged;
            or the training has no iteration, or no data.
    """

    priority = 'VERY_HIGH'

    def before_run(self, runner: Runner) -> None:
        """Chooses what a training starts from, and refuses a training without data or iteration."""
        if isinstance(runner._train_loop, BaseLoop):
            check_length(runner)
            choose_start(runner)
        elif runner._load_from:  # a test, which resumes nothing
            runner._resume = False
            _check(runner._load_from)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Refuses to resume from weights alone, and warns if a part of the state is missing.

        It refuses to resume from another network's checkpoint, and to evaluate layers that have no
        weights in it.
        """
        check_content(checkpoint, str(runner._load_from))
        training = isinstance(runner._train_loop, BaseLoop)
        if runner._resume:
            _check_state(runner, checkpoint)
        if runner._resume or not training:
            _expect_all_weights(runner, checkpoint)

    def before_train(self, runner: Runner) -> None:
        """Says so where nothing is left to train."""
        by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)  # another batch, other iters
        done, end = runner.epoch, runner.max_epochs
        if not by_epoch:
            done, end = runner.iter, runner.max_iters
        if 0 < end <= done:
            _say(
                f'Nothing is left to train: {runner._load_from or "the checkpoint"} is of iteration'
                f' {runner.iter}, and the training ends at {runner.max_iters}',
                logging.WARNING,
            )


def choose_start(runner: Runner) -> None:
    """Sets what a runner resumes from, or loads, or that it starts from the beginning.

    A file that somebody names to resume from (``resume=FILE``, ``--resume FILE``, or
    ``load_from`` beside ``resume=True`` where it is the work dir's own) wins at the first start.
    With ``resume=True``, and in any case after a restart by torchrun or Slurm, it is the work
    dir's newest intact checkpoint. Where there is none yet, ``load_from`` is loaded, as the start
    of a fine-tuning. Checkpoints that a training which does not go on from them would write over
    are moved into a folder beside them.

    Raises:
        FileNotFoundError: The file is not there.
        ValueError: It is damaged, or all checkpoints of the work dir are.
    """
    if runner._has_loaded or getattr(runner, '_start_is_chosen', False):
        return
    runner._start_is_chosen = True
    start: list[Any] = [None]
    launchers = all_gather_object(launcher())
    if runner.rank == 0:
        try:  # all raise it, as they would wait for the one that does
            start = [_choose(runner, {name for name in launchers if name})]
        except (OSError, ValueError) as error:
            start = [error]
    broadcast_object_list(start)
    if isinstance(start[0], Exception):
        raise start[0]
    runner._resume, runner._load_from = start[0]
    _check_everywhere(runner._load_from)


def _choose(runner: Runner, launchers: set[str]) -> tuple[bool, str | None]:
    """Whether to resume, and the file to resume from, or to load."""
    place = _work_dir(runner)
    resume, file = runner._resume, runner._load_from
    named = _file(resume)
    if not named and resume and file and _is_meant_to_resume_from(file, place):
        named = _file(file)
    restarted = is_restart(place.path, launchers)
    if restarted or (resume and not named):
        newest = place.newest_intact()
        if newest:
            _say(f'Resuming from {newest}, the newest checkpoint of {place.path}')
            return True, newest
    named = named or _file(runner.cfg.get('resume_from'))  # mmcv's name for it
    if named:
        _check(named)
        _say(f'Resuming from {named}')
        _make_newest(runner, place, named)
        return True, named
    if resume:
        start = f'load_from={file}, whose weights are loaded' if file else 'the beginning'
        more = f'; to go on with its own training, name it: --resume {quoted(file)}' if file else ''
        _say(
            f'There is nothing to resume from in {place.path} yet, so this training starts from '
            f'{start}{more}',
            logging.WARNING,
        )
    else:
        if file:
            _check(file)
        earlier = place.checkpoints(best=True)
        why = 'are of an earlier training; --resume goes on with it'
        moved = _set_aside(runner, place, earlier, why)
        file = moved.get(Path(file).expanduser().resolve(), file) if file else None
        return False, file
    if file:
        _check(file)
    return False, file


def _work_dir(runner: Runner) -> WorkDir:
    path = Path(runner.work_dir)
    hooks = [hook for hook in runner.hooks if isinstance(hook, CheckpointHook)]
    elsewhere = tuple(
        Path(hook.out_dir) / path.name  # as CheckpointHook composes it
        for hook in hooks
        if hook.out_dir and '://' not in str(hook.out_dir)
    )
    return WorkDir(path, elsewhere, (*NAMES, *(hook.filename_tmpl for hook in hooks)))


def _file(resume: Any) -> str | None:
    """The file that ``resume`` names; None if it asks for the newest, or for none."""
    if not isinstance(resume, str | Path) or str(resume).lower() in ('auto', 'none', ''):
        return None
    text = os.path.expanduser(resume)
    return text if '://' in text else os.path.abspath(text)


def _is_meant_to_resume_from(file: str, place: WorkDir) -> bool:
    """Whether ``load_from`` names a file to resume from, and not weights to start with.

    mmpretrain's and mmaction2's tools hand ``--resume FILE`` on so, and a config has
    ``resume=True`` beside a checkpoint of its work dir.
    """
    own = {one.resolve() for one in place.checkpoints(best=True)}
    told = f'--resume={file}' in sys.argv or ('--resume', file) in pairwise(sys.argv)
    return told or Path(file).expanduser().resolve() in own


def _check(file: str) -> None:
    if '://' in str(file):
        return
    path = Path(file).expanduser()
    if path.is_dir():
        raise ValueError(
            f'{file} is a folder, a checkpoint is needed; name a file in it, or go on from its '
            f'newest with --work-dir {quoted(file)} --resume'
        )
    check_checkpoint(path)


def _check_everywhere(file: str | None) -> None:
    """Refuses a file that some processes do not have, for whom the others would wait."""
    is_there = not file or '://' in file or Path(file).expanduser().exists()
    hosts = all_gather_object(None if is_there else socket.gethostname())
    lacking = [f'{rank} on {host}' for rank, host in enumerate(hosts) if host]
    if lacking:
        raise FileNotFoundError(
            f'{file} is not there for process {", ".join(lacking)}; copy it to each host, or put '
            'it where all hosts see it'
        )


def _make_newest(runner: Runner, place: WorkDir, named: str) -> None:
    """What is saved from now on follows ``named``; a restart before that resumes from it, too."""
    if '://' in named:
        return
    later = place.later_than(Path(named))
    _set_aside(runner, place, later, f'are not of the training that goes on from {named}')
    place.point_to(named)


def _set_aside(runner: Runner, place: WorkDir, files: list[Path], why: str) -> dict[Path, str]:
    """Moves checkpoints that would be written over, and records beside them.

    Returns:
        Where each checkpoint is now, by where it was.
    """
    named = [value for _, value in entries(runner.cfg.to_dict()) if isinstance(value, str)]
    used = {Path(text).expanduser().resolve() for text in named if text.endswith('.pth')}
    used.discard(Path(str(runner._load_from)).expanduser().resolve())  # follows them
    files = [file for file in files if file.resolve() not in used]
    if not files:
        return {}
    records = [place.path / name for name in (POINTER, RATIOS_FILE)]
    records += place.path.glob('queue*.pth')  # SwAVHook loads those that it finds
    originals = {file: file.resolve() for file in files}
    moved = place.set_aside(
        [*files, *(file for file in records if file.is_file())], f'before_{runner.timestamp}'
    )
    _say(
        f'{len(files)} checkpoints in {place.path} {why}. They are now in {moved[files[0]].parent}',
        logging.WARNING,
    )
    return {original: str(moved[file]) for file, original in originals.items()}


def _check_state(runner: Runner, checkpoint: Mapping) -> None:
    file, meta = runner._load_from, checkpoint.get('meta') or {}
    if not {'iter', 'epoch'} <= meta.keys() or 'message_hub' not in checkpoint:
        raise ValueError(
            f'{file} holds weights and not the state of a training, so none can go on from it; '
            f'to start one from these weights, use load_from={file} and resume nothing'
        )
    wanted = ['optimizer', *(['param_schedulers'] if runner.param_schedulers else [])]
    missing = [key for key in wanted if key not in checkpoint]
    if missing:
        _say(
            f'{file} has no {" and no ".join(missing)}, which start again (momentum, learning '
            'rate): this is not the training that was stopped. Of CheckpointHook, save_optimizer '
            'and save_param_scheduler keep them, and files named best_ never have them',
            logging.WARNING,
        )
    theirs = checkpoint.get('state_dict', {})
    other = [
        key
        for key, codes in unwrapped(runner.model).named_buffers()
        if key.endswith(CODES) and key in theirs and theirs[key].tolist() != codes.tolist()
    ]
    if other:
        _say(
            f'{file} has other normalizers, or another order, in {len(other)} layers ({other[0]}, '
            '...). Their logits are translated, the momentum that the optimizer keeps of them is '
            'not: this is not the training that was stopped',
            logging.WARNING,
        )


def _expect_all_weights(runner: Runner, checkpoint: Mapping) -> None:
    source, resume = runner._load_from, runner._resume

    def found(model: nn.Module, names: list[str]) -> None:
        more = ', ...' if len(names) > 3 else ''
        why = (
            f'{source} is of another network: it has no weights that fit {len(names)} parameters, '
            f'{", ".join(names[:3])}{more}'
        )
        if resume:
            raise ValueError(why)
        refuse_to_run(model, names, why)

    watch_loading(runner.model, checkpoint.get('state_dict', checkpoint), found)


def _say(text: str, level: int = logging.INFO) -> None:
    print_log(text, 'current', level)


def register_start(runner: Runner) -> None:
    """Has a runner start from the checkpoint that :func:`choose_start` names."""
    if not any(isinstance(hook, StartHook) for hook in runner.hooks):  # ReliabilityHook is one
        runner.register_hook(StartHook())
