"""What tools/recalibrate.py does."""

import io
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.runner import CheckpointLoader

from ..checkpoints.files import check_checkpoint
from ..checkpoints.publish import fill
from ..datasets.preflight import check_datasets
from ..files import write_atomically
from .precise_stats_hook import recalibrate_model
from .ratios_hook import unwrapped
from .run import build_runner


def recalibrate(cfg: Config, checkpoint: str, out: str | Path, num_batches: int = 200) -> list[str]:
    """Measures batch norm's statistics for a checkpoint, and writes it with these, atomically.

    All else in it stays, so that it tests, deploys and resumes as the one it was made from. Of a
    training with EMAHook it holds the averaged weights, and these are measured.

    Args:
        cfg: The config it was trained with, from ``load_config``.
        checkpoint: The file.
        out: File to write; may be the same.
        num_batches: Training batches to measure, of all processes together, see
            :class:`PreciseStatsHook`.

    Returns:
        Names of the layers measured.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        DatasetMissingError: The training's data is not there.
        ValueError: ``num_batches`` is below 1; the checkpoint is of another network; no layer
            uses batch norm; or what :func:`measure_statistics` raises. Nothing is written.
    """
    if num_batches < 1:
        raise ValueError(f'num_batches must be at least 1, got {num_batches}')
    check_checkpoint(checkpoint)
    check_datasets(cfg, ('train',))
    stored = CheckpointLoader.load_checkpoint(checkpoint, 'cpu')
    weights = stored.get('state_dict', stored)
    runner = build_runner(cfg)
    model = unwrapped(runner)
    fill(model, weights, checkpoint)
    names = recalibrate_model(runner, model.train(), num_batches)
    if not names:
        raise ValueError(
            f'no layer of {checkpoint} uses batch norm in training, so it has no statistics to '
            'recalibrate; use it as it is'
        )
    for name in names:
        for kind in ('running_mean', 'running_var'):
            weights[f'{name}.{kind}'].copy_(model.get_submodule(name).get_buffer(kind))
    if runner.rank == 0:
        file = io.BytesIO()
        torch.save(stored, file)
        write_atomically(out, file.getvalue())
        print(f'{len(names)} layers recalibrated, written to {out}')
    return names
