"""Checkpoints that were cut short or altered on disk."""

import os
import zipfile
from pathlib import Path

from mmengine.logging import print_log

POINTER = 'last_checkpoint'  # mmengine's file that names the one to resume from


def is_intact(checkpoint: str | Path) -> bool:
    """Whether a checkpoint of ``torch.save`` is complete; its checksums are verified."""
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError):
        return False


def point_to_intact(work_dir: str | Path) -> str | None:
    """Makes a work dir's ``last_checkpoint`` name the newest checkpoint that is intact.

    A training that was killed may leave it empty, behind, or naming a file that is damaged.

    Returns:
        The checkpoint, or None where there is none yet.

    Raises:
        ValueError: There are checkpoints and all of them are damaged.
    """
    folder = Path(work_dir)
    found = sorted(
        (file for kind in ('iter', 'epoch') for file in folder.glob(f'{kind}_*.pth')),
        key=lambda file: (file.stat().st_mtime, file.name),
        reverse=True,
    )
    named = _named(folder)
    if named is not None and '://' in str(named):
        return str(named)  # on a server, which has its own checks
    if named is not None and named.is_file():  # first, whatever the clocks say
        found = [named, *(file for file in found if file != named)]
    for file in found:
        if is_intact(file):
            if file != named:
                print_log(f'Resuming from {file}, the newest that is intact', 'current', 30)
                _write_pointer(folder / POINTER, str(file))
            return str(file)
        print_log(f'{file} is damaged (cut short or altered) and left aside', 'current', 30)
    if found:
        raise ValueError(
            f'all {len(found)} checkpoints in {folder} are damaged; start anew without --resume, '
            'or copy an intact one there'
        )
    (folder / POINTER).unlink(missing_ok=True)
    return None


def _named(folder: Path) -> Path | None:
    pointer = folder / POINTER
    name = pointer.read_text().strip() if pointer.is_file() else ''
    return Path(name) if name else None


def _write_pointer(path: Path, name: str) -> None:
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    temporary.write_text(name)
    os.replace(temporary, path)
