"""What tools/check_data.py does."""

from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config
from rich.console import Console

from ..config_files import files_of
from ..datasets.check.checks import check
from ..datasets.check.report import print_report, write_report
from ..files import check_writes


def check_data(
    cfg: Config,
    splits: Sequence[str] | None = None,
    workers: int | None = None,
    limit: int | None = None,
    out: Path | None = None,
) -> int:
    """Checks a config's data, prints what was found, and writes it as JSON if asked to.

    Args:
        cfg: The config, from :func:`ssn_mm.cli.config.load_config`.
        splits: Which of 'train', 'val' and 'test' to check, see
            :func:`ssn_mm.datasets.check.checks.check`.
        workers: Number of processes that decode.
        limit: Number of samples of a dataset to decode.
        out: JSON file to write.

    Returns:
        The exit code: 1 if there are faults, else 0.

    Raises:
        DatasetMissingError: A folder or list of the data is missing.
        ValueError: ``out`` is a file that the config reads, or what :func:`check` raises.
        OSError: ``out`` cannot be written.
    """
    check_writes([out] if out else [], files_of(cfg))  # not after hours of decoding
    found = check(cfg, splits, workers, limit)
    print_report(found, Console())
    if out:
        write_report(found, str(cfg.filename), out)
    return int(any(split.faults for split in found))
