"""A file backend whose files are complete or not there, for checkpoints."""

import os
from pathlib import Path

from mmengine.fileio import LocalBackend


class AtomicBackend(LocalBackend):
    """mmengine's local backend, writing beside the file first.

    Use it as ``default_hooks=dict(checkpoint=dict(backend_args=dict(backend='atomic')))``. An
    interrupted write leaves the earlier file, or none, but never half of one.
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Writes bytes, replacing ``filepath`` in one step."""
        path = Path(filepath)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
        try:
            with temporary.open('wb') as file:
                file.write(obj)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Writes text, replacing ``filepath`` in one step."""
        self.put(obj.encode(encoding), filepath)
