"""What tools/train.py and tools/test.py do, for any config of the three libraries."""

import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.runner import Runner

from ..checkpoints.files import read_checkpoint
from ..checkpoints.work_dir import last_checkpoint
from ..commands import command, short
from ..config_files import check_parts, files_of, read_config
from ..datasets.pipelines import scope_of
from ..datasets.preflight import check_datasets
from ..datasets.samples import type_name
from ..files import check_writes
from ..layers import count_selected, layer_ratios, selection_by_stage, ssn_layers
from .amp import DTYPES, let_mmaction_score_bfloat16
from .outputs import build_runner, check_label_maps, check_start, written_config
from .ratios import RATIOS_FILE
from .ratios_hook import unwrapped
from .start import StartHook
from .testing import complete_test, enable_painting, enable_tta, keep_predictions
from .tool import is_interrupt, run_tool  # noqa: F401, as tools import it
from .training_data import check_length

_OF_MMENGINE = {'runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint'}


def load_config(
    path: str, work_dir: str | None = None, options: dict | None = None, launcher: str = 'none'
) -> Config:
    """Reads a config and settles what every tool settles.

    Args:
        path: The config file.
        work_dir: Where results go; else the config's ``work_dir``, else work_dirs/<its name>.
        options: Overrides, as ``--cfg-options`` gives them.
        launcher: 'none', 'pytorch', 'slurm' or 'mpi'. Without a GPU, processes talk over gloo.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no config, or the overrides do not fit it, see :func:`read_config`.
    """
    cfg = read_config(path, options)
    if scope_of(cfg) != 'mmengine':
        cfg.default_scope = scope_of(cfg)
    _drop_hooks(cfg)
    for name in ('train', 'val', 'test'):
        _fit_to_workers(cfg.get(f'{name}_dataloader'))
    cfg.work_dir = work_dir or cfg.get('work_dir') or str(Path('work_dirs') / Path(path).stem)
    cfg.launcher = launcher
    if launcher != 'none' and not torch.cuda.is_available():
        _distribute_over_cpus(cfg)
    return cfg


def train(cfg: Config, resume: bool | str = False, amp: bool | str = False) -> None:
    """Trains a config; ends with a line that says where the results lie and what to do next.

    Args:
        cfg: From :func:`load_config`.
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
    _register_start(runner)
    if amp:
        let_mmaction_score_bfloat16()
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


def evaluate(
    cfg: Config,
    checkpoint: str,
    tta: bool = False,
    out: str | None = None,
    show_dir: str | None = None,
) -> dict[str, float]:
    """Evaluates a checkpoint on a config's test data.

    Args:
        cfg: From :func:`load_config`.
        checkpoint: File to load.
        tta: Test with the config's ``tta_pipeline`` (multi-scale for segmentation).
        out: Folder for predicted label maps (mmseg), or file for pickled results (others), .pkl.
        show_dir: Folder for pictures with the predictions painted over.

    Returns:
        The metrics.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        OSError: ``out`` cannot be written.
        ValueError: ``out`` would be written over what is read; ``tta`` for a config without
            ``tta_pipeline``, ``show_dir`` for one without a visualization hook, a config without
            test and validation data or without metrics, or the checkpoint of a frozen network.
    """
    stored = read_checkpoint(checkpoint)
    complete_test(cfg)
    check_parts(cfg)
    check_datasets(cfg, ('test',))
    if 'frozen' in (stored.get('meta') or {}):
        raise ValueError(
            f'{checkpoint} is of a frozen network, which the config does not describe; test the '
            'checkpoint that it was frozen from, its outputs are the same, or use tools/infer.py'
        )
    cfg.load_from, cfg.resume = checkpoint, False
    if show_dir:
        enable_painting(cfg, show_dir)
    maps = out if scope_of(cfg) == 'mmseg' else None
    if out and not maps:
        if not out.endswith(('.pkl', '.pickle')):
            raise ValueError(f'--out is a file of pickled predictions, .pkl, got {out!r}')
        check_writes([out], [checkpoint, *files_of(cfg)])
    if out:
        keep_predictions(cfg, out)
    if not cfg.test_evaluator and not show_dir:
        raise ValueError(
            'the config has no test_evaluator or val_evaluator, so there is nothing to measure; '
            'set one, or write the predictions with --out'
        )
    if tta:
        enable_tta(cfg)
    runner = build_runner(cfg, training=False)
    _register_start(runner)
    if maps:
        check_label_maps(runner.test_loop.dataloader.dataset, maps)
    return runner.test()


def _register_start(runner: Runner) -> None:
    if not any(isinstance(hook, StartHook) for hook in runner.hooks):  # ReliabilityHook is one
        runner.register_hook(StartHook())


def _drop_hooks(cfg: Config) -> None:
    """Takes out hooks that overrides set to None, which mmengine allows for its own alone."""
    hooks = cfg.get('default_hooks') or {}
    for name in [name for name, hook in hooks.items() if hook is None]:
        if name not in _OF_MMENGINE:
            del hooks[name]


def _fit_to_workers(loader: Any) -> None:
    """Takes out of a data loader without workers what PyTorch lets only workers have."""
    for one in loader if isinstance(loader, list | tuple) else [loader]:
        if isinstance(one, dict) and not one.get('num_workers', 0):
            for key in ('persistent_workers', 'prefetch_factor', 'timeout'):
                one.pop(key, None)
            one.pop('multiprocessing_context', None)


def _distribute_over_cpus(cfg: Config) -> None:
    """mmengine's launcher asks for CUDA; joined beforehand, it takes the group as it is."""
    cfg.merge_from_dict({'env_cfg.dist_cfg.backend': 'gloo'})
    wrapper = dict(type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False)
    wrapper['find_unused_parameters'] = cfg.get('find_unused_parameters', False)
    cfg.setdefault('model_wrapper_cfg', wrapper)
    if not dist.is_initialized():
        seconds = cfg.env_cfg.dist_cfg.get('timeout')  # as mmengine reads it
        timeout = None if seconds is None else timedelta(seconds=seconds)
        dist.init_process_group('gloo', timeout=timeout)


def _enable_amp(cfg: Config, dtype: str | None) -> None:
    if dtype not in (None, *DTYPES):
        raise ValueError(f'mixed precision is of one of {DTYPES}, got {dtype!r}')
    kind = type_name(cfg.optim_wrapper) or 'OptimWrapper'
    if kind not in ('OptimWrapper', 'AmpOptimWrapper', 'CPUAmpOptimWrapper'):
        raise ValueError(f'--amp works with OptimWrapper, the config has {kind!r}')
    has_gpu = torch.cuda.is_available()
    cfg.optim_wrapper.type = 'AmpOptimWrapper' if has_gpu else 'CPUAmpOptimWrapper'
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    if dtype:
        cfg.optim_wrapper.dtype = dtype


def _how_to_go_on(runner: Runner) -> str:
    """What to say of a training that was interrupted; its command on a line of its own."""
    last = last_checkpoint(runner.work_dir)
    kept = f'the last checkpoint is {last}' if last else 'there is no checkpoint yet'
    told = f'\nInterrupted at iteration {runner.iter}; {kept}. Go on with '
    if runner.launcher != 'none':
        return f'{told}the command that started it, and --resume.'
    trusted = ['--trust-checkpoint'] if 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD' in os.environ else []
    again = command('train.py', written_config(runner), '--resume', *trusted)
    return f'{told}it:\n    {again}'


def _closing_lines(runner: Runner) -> list[str]:
    lines = []
    layers = dict(ssn_layers(unwrapped(runner)))
    if layers:
        ratios = layer_ratios(layers)
        counts = count_selected(layers, ratios)
        chosen = ', '.join(f'{name} {count}' for name, count in counts.items())
        rows = 2 * len(layers)
        lines.append(
            f'{sum(counts.values())} of {rows} ratios (mean and variance of {len(layers)} SSN '
            f'layers) have chosen: {chosen}.'
        )
        lines += selection_by_stage(layers, ratios)
    return [*lines, *_next_steps(runner, decided=sum(counts.values()) == rows if layers else None)]


def _next_steps(runner: Runner, decided: bool | None) -> list[str]:
    """Commands, each on a line of its own; ``decided``: whether every SSN has chosen, if any."""
    work_dir, config = Path(runner.work_dir), written_config(runner)
    checkpoint = last_checkpoint(runner.work_dir)
    steps = {}
    if checkpoint and runner.cfg.get('test_dataloader'):
        tta = ['--tta'] if 'tta_pipeline' in runner.cfg else []
        steps['test'] = command('test.py', config, Path(checkpoint), *tta)
    if (work_dir / RATIOS_FILE).is_file():  # of SN, too
        steps['plot'] = command('analysis_tools/plot_ratios.py', work_dir)
    if checkpoint and decided is not None:
        force = [] if decided else ['--force']
        steps['deploy'] = command('deploy.py', config, Path(checkpoint), *force)
    then = f' Next, {", ".join(steps)}:' if steps else ''
    none = '' if checkpoint else ' No checkpoint was written.'
    return [f'Results are in {short(work_dir)}.{none}{then}', *(f'    {s}' for s in steps.values())]
