"""What tools/publish_model.py does."""

from collections.abc import Sequence
from pathlib import Path

from ..publish.publish import publish, read_metrics
from .config import load_config


def publish_model(
    checkpoint: str,
    config: str | None = None,
    out: Path | None = None,
    file_format: str = 'pth',
    metrics: Sequence[str] | None = None,
    force: bool = False,
) -> None:
    """Makes a folder to give away of a checkpoint, and prints what is in it.

    Args:
        checkpoint: The checkpoint that a training wrote.
        config: Its config file; None takes the config in the checkpoint.
        out: Folder to make, see :func:`ssn_mm.publish.publish.publish`.
        file_format: 'pth' or 'safetensors'.
        metrics: What the network reached, words like 'mIoU=66.5' or JSON files of numbers.
        force: Whether to replace the folder if it exists.

    Raises:
        ValueError: A metric is no number, or what ``load_config`` and ``publish`` raise.
        OSError: The folder cannot be written.
    """
    cfg = load_config(config) if config else None
    numbers = read_metrics(metrics) if metrics else None
    folder = publish(checkpoint, cfg, out, file_format, numbers, force)
    print(f'{folder} has {", ".join(sorted(file.name for file in folder.iterdir()))}')
