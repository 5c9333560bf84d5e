"""Checkpoint files: checked for damage and for code in them, then read."""

import hashlib
import logging
import re
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader
from torch import Tensor

from .content import check_content, state_and_meta

_PICKLED = b'\x80'  # what torch.save wrote before 1.6, and others that PyTorch's loader takes
_OTHERS = ('.onnx', '.xml', '.safetensors')  # whose readers check them


def explain_refusal(error: UnpicklingError) -> str:
    """Says in two sentences what PyTorch's refusal of a checkpoint means, and what to do."""
    found = re.search(r'GLOBAL (\S+)', str(error))
    what = f', {found[1]},' if found else ''
    return (
        f'a checkpoint holds more than weights{what} and was refused; none of it was run. If you '
        'trust its origin as you trust a program, add --trust-checkpoint'
    )


def check_checkpoint(checkpoint: str | Path) -> None:
    """Checks that a checkpoint is there and complete.

    A hash in the file's name that is not the file's own is an error where this package has
    published the file, which ``metafile.yml`` beside it says. Elsewhere it is a warning:
    mmengine's ``published_keys`` name a file by a hash of something else, and other names end in
    digits that are no hash.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file was cut short or altered, by its checksums or by that hash; or it is no
            checkpoint at all.
    """
    if not Path(checkpoint).is_file():
        what = ', which is a folder' if Path(checkpoint).is_dir() else ''
        raise FileNotFoundError(
            f"no checkpoint '{checkpoint}'{what}; training writes them to its work dir"
        )
    with open(checkpoint, 'rb') as file:
        start = file.read(24)
    zipped = start.startswith(b'PK\x03\x04')  # what torch.save has written since 1.6
    if not start or (zipped and not is_intact(checkpoint)):
        raise ValueError(f'{checkpoint} is damaged (cut short or altered); copy it again')
    known = zipped or start.startswith(_PICKLED) or Path(checkpoint).suffix in _OTHERS
    if not (known or tarfile.is_tarfile(checkpoint)):
        raise ValueError(
            f'{checkpoint} is no checkpoint, it begins with {start!r}; of Git LFS, and of a '
            'download that failed, such files are text: get the file itself'
        )
    _check_named_hash(Path(checkpoint))


def read_checkpoint(checkpoint: str | Path) -> Mapping[str, Any]:
    """Reads a checkpoint into the CPU's memory.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: See :func:`check_checkpoint`; or what it holds is no checkpoint.
    """
    check_checkpoint(checkpoint)
    content = CheckpointLoader.load_checkpoint(str(checkpoint), 'cpu')
    check_content(content, checkpoint)
    return content


def read_weights(checkpoint: str | Path) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
    """Reads the weights by name and the meta of a checkpoint, see :func:`state_and_meta`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: See :func:`check_checkpoint`; or it has no weights by name.
    """
    return state_and_meta(read_checkpoint(checkpoint), checkpoint)


def _check_named_hash(path: Path) -> None:
    """Compares a file with the hash in its name: <name>-<8 hex digits of its SHA-256>.pth.

    Eight digits without a letter may as well be a date, and are passed over.
    """
    named = re.search(r'-([0-9a-f]{8})\.(pth|safetensors)$', path.name)
    if named is None or named[1].isdigit():
        return
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest.startswith(named[1]):
        return
    entry = path.with_name('metafile.yml')
    if entry.is_file() and path.name in entry.read_text('utf-8', 'replace'):
        raise ValueError(
            f'{path} is damaged (cut short or altered), or another file than was published: its '
            f'hash is {digest[:8]}. Copy it again'
        )
    print_log(
        f'{path} has the hash {digest[:8]}, which is not what its name ends in. Nothing else is '
        'wrong with it; but if those digits are a hash of the file, then copy it again',
        'current',
        logging.WARNING,
    )


def is_intact(checkpoint: str | Path) -> bool:
    """Whether a checkpoint of ``torch.save`` is complete; its checksums are verified.

    One that was written without any (``torch.serialization.set_crc32_options``) is taken as it is.
    """
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            summed = any(member.CRC for member in archive.infolist())
            return not summed or archive.testzip() is None
    except (OSError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError):
        return False
