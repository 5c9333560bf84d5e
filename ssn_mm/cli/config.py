"""A config as every tool reads it, its processes and its data loaders."""

import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from mmengine.config import Config

from ..config_files import read_config
from ..datasets.nested import data_loaders, scope_of

_OF_MMENGINE = {'runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint'}


def load_config(
    path: str, work_dir: str | None = None, options: dict | None = None, launcher: str = 'none'
) -> Config:
    """Reads a config as every tool does: its work dir, its processes, its loaders' workers.

    Args:
        path: The config file.
        work_dir: The folder that results go to; None is the config's ``work_dir``, else
            work_dirs/<its name>.
        options: Overrides, as ``--cfg-options`` gives them.
        launcher: Who starts the processes: 'none', 'pytorch', 'slurm' or 'mpi'. Without a GPU they
            talk over gloo, as where there is no NCCL (Windows).

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no config, or the overrides do not fit it, see :func:`read_config`.
    """
    cfg = read_config(path, options)
    if scope_of(cfg) != 'mmengine':
        cfg.default_scope = scope_of(cfg)
    _drop_hooks(cfg)
    for split in ('train', 'val', 'test'):
        for loader in data_loaders(cfg, split):
            _fit_to_workers(loader)
    _fit_to_system(cfg)
    cfg.work_dir = work_dir or cfg.get('work_dir') or str(Path('work_dirs') / Path(path).stem)
    cfg.launcher = launcher
    if launcher != 'none':
        os.environ.setdefault('LOCAL_RANK', '0')  # mmengine reads it, launchers may not set it
    if launcher != 'none' and not torch.cuda.is_available():
        _distribute_over_cpus(cfg)
    elif launcher != 'none' and not dist.is_nccl_available():
        cfg.merge_from_dict({'env_cfg.dist_cfg.backend': 'gloo'})
    return cfg


def _drop_hooks(cfg: Config) -> None:
    """Takes out hooks that overrides set to None, which mmengine allows for its own alone."""
    hooks = cfg.get('default_hooks') or {}
    for name in [name for name, hook in hooks.items() if hook is None]:
        if name not in _OF_MMENGINE:
            del hooks[name]


def _fit_to_workers(loader: Any) -> None:
    """Takes out of a data loader without workers what PyTorch lets only workers have."""
    if not loader.get('num_workers', 0):
        for key in ('persistent_workers', 'prefetch_factor', 'timeout', 'multiprocessing_context'):
            loader.pop(key, None)


def _fit_to_system(cfg: Config) -> None:
    """Has macOS start data loaders' workers anew; its libraries do not survive a fork.

    On Windows mmengine leaves the way of starting alone, which is that one.
    """
    options = (cfg.get('env_cfg') or {}).get('mp_cfg')
    if sys.platform == 'darwin' and options and options.get('mp_start_method') == 'fork':
        options['mp_start_method'] = 'spawn'


def _distribute_over_cpus(cfg: Config) -> None:
    """Joins a group of processes without GPUs, which mmengine's launcher takes as it is."""
    cfg.merge_from_dict({'env_cfg.dist_cfg.backend': 'gloo'})
    wrapper = dict(type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False)
    wrapper['find_unused_parameters'] = cfg.get('find_unused_parameters', False)
    cfg.setdefault('model_wrapper_cfg', wrapper)
    if not dist.is_initialized():
        seconds = cfg.env_cfg.dist_cfg.get('timeout')  # as mmengine reads it
        timeout = None if seconds is None else timedelta(seconds=seconds)
        dist.init_process_group('gloo', timeout=timeout)
