"""A file backend whose files are complete or not there, for checkpoints."""

from pathlib import Path

from mmengine.fileio import LocalBackend

from ..files import write_atomically


class AtomicBackend(LocalBackend):
    """mmengine's local backend, writing beside the file first.

    Use it as ``default_hooks=dict(checkpoint=dict(backend_args=dict(backend='atomic')))``. An
    interrupted write leaves the earlier file, or none, but never half of one.
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Writes bytes, replacing ``filepath`` in one step."""
        write_atomically(filepath, obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Writes text, replacing ``filepath`` in one step."""
        self.put(obj.encode(encoding), filepath)
