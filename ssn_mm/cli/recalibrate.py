"""What tools/recalibrate.py does."""

import io
from pathlib import Path

import torch
from mmengine.config import Config

from ..config_files import check_parts, files_of
from ..datasets.check.preflight import check_datasets
from ..engine.hooks.precise_stats_hook import recalibrate_model
from ..files import check_writes, write_atomically
from ..weights.content import load_strictly, state_and_meta
from ..weights.files import check_checkpoint, read_checkpoint
from ..weights.loading import unwrapped
from .outputs import build_runner


def recalibrate(
    cfg: Config,
    checkpoint: str,
    out: str | Path | None = None,
    num_batches: int = 200,
    in_place: bool = False,
) -> list[str]:
    """Measures batch norm's running statistics for a checkpoint, and writes one with these.

    All else in it stays, so that it tests, deploys and resumes as the one it was made from. The
    checkpoint of a training with EMAHook has the averaged weights, and is measured with these.

    Args:
        cfg: The config it was trained with, from ``load_config``.
        checkpoint: The checkpoint file.
        out: File to write (default: <checkpoint>.recalibrated.pth).
        num_batches: How many training batches all processes measure together, see
            :class:`PreciseStatsHook`.
        in_place: Whether to write to ``checkpoint`` itself.

    Returns:
        Names of the layers measured.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        DatasetMissingError: The training's data is not there.
        OSError: ``out`` cannot be written.
        ValueError: ``num_batches`` is below 1; ``out`` is the checkpoint or the config, or is given
            together with ``in_place``; the checkpoint is of another network; no layer uses batch
            norm; or what :func:`measure_statistics` raises. Nothing is written.
    """
    if num_batches < 1:
        raise ValueError(f'num_batches must be at least 1, got {num_batches}')
    check_checkpoint(checkpoint)
    if in_place and out is not None:
        raise ValueError(f'in_place writes to {checkpoint} itself; leave out {out}')
    read = [] if in_place else [checkpoint]
    out = checkpoint if in_place else out or Path(checkpoint).with_suffix('.recalibrated.pth')
    check_writes([out], [*read, *files_of(cfg)])
    check_parts(cfg, 'train_dataloader')
    check_datasets(cfg, ('train',))
    stored = read_checkpoint(checkpoint)
    weights, _ = state_and_meta(stored, checkpoint)
    runner = build_runner(cfg, training=False)
    model = unwrapped(runner.model)
    load_strictly(model, weights, checkpoint)
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
