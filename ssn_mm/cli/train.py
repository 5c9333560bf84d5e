"""What tools/train.py does, for any config of the three libraries."""

import sys
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.runner import Runner

from ..commands import command, short
from ..config_files import check_parts
from ..datasets.check.preflight import check_datasets
from ..datasets.nested import type_name
from ..engine.data.training_data import check_length
from ..engine.optimizers.cpu_amp_optim_wrapper import DTYPES
from ..engine.ratios import RATIOS_FILE
from ..engine.start import register_start
from ..engine.work_dir import last_checkpoint
from ..layers import count_selected, layer_ratios, selecting_norms, selection_by_stage
from ..weights.loading import unwrapped
from ..weights.pickles import are_trusted
from .outputs import build_runner, check_start, written_config
from .tool import is_interrupt


def train(cfg: Config, resume: bool | str = False, amp: bool | str = False) -> None:
    """Trains a config; ends with a line that says where the results lie and what to do next.

    Args:
        cfg: From :func:`ssn_mm.cli.config.load_config`.
        resume: Go on from the newest checkpoint of the work dir, or from this file; else what
            the config's ``resume`` says, which may be the same. See
            :func:`ssn_mm.engine.start.choose_start`.
        amp: Train in mixed precision of a dtype, 'bfloat16' or 'float16'; True takes float16 on a
            GPU and bfloat16 on a CPU.

    Raises:
        DatasetMissingError: Before anything is built, see ``check_datasets``.
        OSError: The work dir cannot be written to.
        ValueError: The checkpoint that it starts from would be written over, is damaged or
            cannot be resumed from; ``amp`` is another dtype, or the config's optimizer wrapper
            cannot; the training has no iteration.
        SystemExit: 130 after Ctrl-C, with a message that says how to go on.
    """
    check_parts(cfg, 'train_dataloader', 'train_cfg', 'optim_wrapper')
    check_datasets(cfg)
    if amp:
        _enable_amp(cfg, None if amp is True else amp)
    resume = resume or cfg.get('resume') or cfg.get('resume_from') or False  # mmcv's name, too
    if not resume:
        check_start(cfg)
    runner = build_runner(cfg)
    runner._resume = resume
    register_start(runner)
    try:
        check_length(runner)
        runner.train()
    except BaseException as error:
        if not is_interrupt(error):
            raise
        if runner.rank == 0:
            print(_how_to_go_on(runner), flush=True)
        sys.exit(130)
    if runner.rank == 0:
        print('\n'.join(_closing_lines(runner)), flush=True)


def _enable_amp(cfg: Config, dtype: str | None) -> None:
    if dtype not in (None, *DTYPES):
        raise ValueError(f'mixed precision is of one of {DTYPES}, got {dtype!r}')
    kind = type_name(cfg.optim_wrapper) or 'OptimWrapper'
    if kind not in ('OptimWrapper', 'AmpOptimWrapper', 'CPUAmpOptimWrapper'):
        raise ValueError(f'--amp works with OptimWrapper, the config has {kind!r}')
    if get_device() == 'mps':  # where mmengine trains on a Mac
        raise ValueError('--amp is for a CPU and for CUDA, this trains on mps; leave --amp out')
    has_gpu = torch.cuda.is_available()
    cfg.optim_wrapper.type = 'AmpOptimWrapper' if has_gpu else 'CPUAmpOptimWrapper'
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    if dtype:
        cfg.optim_wrapper.dtype = dtype


def _how_to_go_on(runner: Runner) -> str:
    """What a user is told of an interrupted training; the command is a line of its own."""
    last = last_checkpoint(runner.work_dir)
    kept = f'the last checkpoint is {last}' if last else 'there is no checkpoint yet'
    told = f'\nInterrupted at iteration {runner.iter}; {kept}. Go on with '
    if runner.launcher != 'none':
        return f'{told}the command that started it, and --resume.'
    trusted = ['--trust-checkpoint'] if are_trusted() else []
    again = command('train.py', written_config(runner), '--resume', *trusted)
    return f'{told}it:\n    {again}'


def _closing_lines(runner: Runner) -> list[str]:
    lines = []
    layers = dict(selecting_norms(unwrapped(runner.model)))
    if layers:
        ratios = layer_ratios(layers)
        counts = count_selected(layers, ratios)
        selected = ', '.join(f'{name} {count}' for name, count in counts.items())
        rows = 2 * len(layers)
        lines.append(
            f'{sum(counts.values())} of {rows} ratios (mean and variance of {len(layers)} SSN '
            f'layers) are selected: {selected}.'
        )
        lines += selection_by_stage(layers, ratios)
    return [*lines, *_next_steps(runner, sum(counts.values()) == rows if layers else None)]


def _next_steps(runner: Runner, all_selected: bool | None) -> list[str]:
    """What can be done with the trained network, each command on a line of its own.

    Args:
        runner: The runner, at the end of its training.
        all_selected: Whether every SSN has selected; None if there is none.
    """
    work_dir, config = Path(runner.work_dir), written_config(runner)
    checkpoint = last_checkpoint(runner.work_dir)
    steps = {}
    if checkpoint and runner.cfg.get('test_dataloader'):
        tta = ['--tta'] if 'tta_pipeline' in runner.cfg else []
        steps['test'] = command('test.py', config, Path(checkpoint), *tta)
    if (work_dir / RATIOS_FILE).is_file():  # SN has one, too
        steps['plot'] = command('analysis_tools/plot_ratios.py', work_dir)
    if checkpoint and all_selected is not None:
        force = [] if all_selected else ['--force']
        steps['deploy'] = command('deploy.py', config, Path(checkpoint), *force)
    then = f' Next, {", ".join(steps)}:' if steps else ''
    none = '' if checkpoint else ' No checkpoint was written.'
    return [f'Results are in {short(work_dir)}.{none}{then}', *(f'    {s}' for s in steps.values())]
