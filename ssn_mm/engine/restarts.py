"""Whether torchrun or Slurm has started this training before."""

import os
import socket
from contextlib import suppress
from pathlib import Path

from ..files import write_atomically

_RESTARTS = ('TORCHELASTIC_RESTART_COUNT', 'SLURM_RESTART_COUNT')  # above 0 after a restart
_LAUNCHERS = '.launchers'  # a work dir's file of the launchers that started its training


def is_restart(work_dir: Path, launchers: set[str]) -> bool:
    """Whether a launcher has started the training of a work dir before.

    torchrun does not count a start after hosts have come; so who started it is kept in a file.
    """
    file = work_dir / _LAUNCHERS
    known = set(file.read_text('utf-8').splitlines()) if launchers and file.is_file() else set()
    if launchers - known:
        write_atomically(file, '\n'.join(sorted(launchers)).encode())
    return bool(launchers & known) or any(int(os.environ.get(name) or 0) for name in _RESTARTS)


def launcher() -> str | None:
    """The torchrun of this process: its host, its id, and when it began, in clock ticks."""
    if 'TORCHELASTIC_RUN_ID' not in os.environ:
        return None
    parent, began = os.getppid(), ''
    with suppress(OSError):  # no Linux
        began = Path(f'/proc/{parent}/stat').read_bytes().rpartition(b')')[2].split()[19].decode()
    return f'{socket.gethostname()} {parent} {began}'
