"""What trainings and tests write, kept off what they read."""

import copy
import os
import pickle
import re
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.evaluator import DumpResults
from mmengine.registry import METRICS, RUNNERS
from mmengine.runner import Runner

from ..config_files import check_parts, files_of
from ..files import check_folder, check_writes, write_atomically


@METRICS.register_module()
class DumpResultsAtomically(DumpResults):
    """mmengine's ``DumpResults``, whose file is there whole or not at all."""

    def compute_metrics(self, results: list) -> dict:
        """Writes the file; there is nothing to measure."""
        write_atomically(self.out_file_path, pickle.dumps(results, protocol=2))
        return {}


def build_runner(cfg: Config, training: bool = True) -> Runner:
    """Builds the runner of a config, of the type that it asks for.

    mmengine's runner writes the config, with its overrides, to the work dir under the name of its
    file. If that file was read, or if it may be a training's and this is no training, the config
    goes to the folder of this run's logs instead, see :func:`written_config`.
    ``env_cfg.mkldnn=False`` has this process do without oneDNN, which on a CPU is slower than
    PyTorch's own kernels where maps and batches are small.

    Args:
        cfg: The config.
        training: Whether the runner will train.

    Raises:
        ValueError: The work dir is a file, the config has no network, or ``env_cfg.mkldnn`` is
            neither True nor False.
        OSError: The work dir cannot be written to.
    """
    check_parts(cfg)
    check_folder(cfg.work_dir)
    if (mkldnn := (cfg.get('env_cfg') or {}).get('mkldnn')) is not None:
        if not isinstance(mkldnn, bool):
            raise ValueError(f'env_cfg.mkldnn must be True or False, got {mkldnn!r}')
        torch.backends.mkldnn.enabled = mkldnn  # type: ignore[assignment]  # a property
    name = cfg.filename and Path(cfg.work_dir, Path(cfg.filename).name)
    aside = name and not (training and not any(_same(name, file) for file in files_of(cfg)))
    if not aside:
        return _build(cfg)
    nameless = copy.deepcopy(cfg)
    nameless.setdefault('experiment_name', name.stem)
    object.__setattr__(nameless, '_filename', None)
    runner = _build(nameless)
    object.__setattr__(runner.cfg, '_filename', cfg.filename)
    if runner.rank == 0:
        os.replace(Path(runner.work_dir, f'{runner.timestamp}.py'), Path(runner.log_dir, name.name))
    return runner


def written_config(runner: Runner) -> Path | None:
    """The file that a runner of :func:`build_runner` wrote its config to, with its overrides."""
    if runner.cfg.filename is None:
        return Path(runner.work_dir, f'{runner.timestamp}.py')
    name = Path(runner.cfg.filename).name
    aside = Path(runner.log_dir, name)
    return aside if aside.is_file() else Path(runner.work_dir, name)


def check_start(cfg: Config) -> None:
    """Checks that a training does not write over a checkpoint that it starts from.

    Raises:
        ValueError: ``load_from``, or weights that the config names for a part of its network, lie
            in the work dir, under a name that the training will use.
    """
    kind = 'epoch' if 'max_epochs' in (cfg.get('train_cfg') or {}) else 'iter'
    for start in (str(cfg.get('load_from') or ''), *files_of(cfg)):
        own = re.fullmatch(rf'{kind}_\d+\.pth', Path(start).name)
        if own and _same(Path(start).parent, cfg.work_dir):
            raise ValueError(
                f'the training would write over {start}, which it starts from; give another '
                '--work-dir, or go on from there with --resume'
            )


def check_label_maps(dataset: Any, out: str | Path) -> None:
    """Checks that mmseg's label maps, named after the pictures alone, are written over nothing.

    Raises:
        ValueError: One would be written over a picture or an annotation of the dataset, or two
            pictures have one name.
        OSError: ``out`` cannot be written to.
    """
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    pictures = dict.fromkeys(info['img_path'] for info in infos)
    named: dict[str, str] = {}
    for picture in pictures:
        other = named.setdefault(Path(picture).stem, picture)
        if other != picture:
            raise ValueError(
                f'{other} and {picture} have one name, so that their label maps would be one file '
                f'of {out}; test them one after the other, each to a folder of its own'
            )
    read = [info[key] for info in infos for key in ('img_path', 'seg_map_path') if info.get(key)]
    check_writes([Path(out, f'{stem}.png') for stem in named], read)


def _build(cfg: Config) -> Runner:
    return RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)


def _same(first: str | Path, second: str | Path) -> bool:
    return os.path.exists(first) and os.path.exists(second) and os.path.samefile(first, second)
