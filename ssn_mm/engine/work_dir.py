"""The checkpoints of a work dir: the newest to go on from, and those of an earlier training."""

import locale
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from mmengine.logging import print_log

from ..files import write_atomically
from ..weights.files import is_intact

POINTER = 'last_checkpoint'  # mmengine's file that names the one to resume from
NAMES = ('iter_{}.pth', 'epoch_{}.pth')  # mmengine's, unless filename_tmpl says another
_TEMPORARY = re.compile(
    rf'\.({POINTER}|ssn_ratios\.jsonl|.+\.pth)\.\d+\.tmp'
)  # what write_atomically had begun


@dataclass(frozen=True)
class WorkDir:
    """Where a training keeps its checkpoints.

    Attributes:
        path: The work dir, which has the pointer to the last checkpoint.
        elsewhere: Other folders of its checkpoints (``CheckpointHook``'s ``out_dir``).
        names: Their names, with braces where the number is (``filename_tmpl``).
    """

    path: Path
    elsewhere: tuple[Path, ...] = ()
    names: tuple[str, ...] = NAMES

    def checkpoints(self, best: bool = False) -> list[Path]:
        """Checkpoints that can be resumed from, the newest first.

        A file that a tool has made of a checkpoint, such as iter_8.frozen.pth, is none.

        Args:
            best: Whether checkpoints that were kept for their metric are among them.
        """
        found = {
            file.resolve(): file
            for folder in (self.path, *self.elsewhere)
            for file in folder.glob('*')
            if self._number(file)[0]
            and (best or not file.name.startswith('best_'))
            and file.is_file()
        }
        return sorted(
            found.values(),
            key=lambda file: (file.stat().st_mtime, self._number(file)[::-1]),
            reverse=True,
        )

    def later_than(self, file: Path) -> list[Path]:
        """Checkpoints that a training which goes on from a file would write again, or not have.

        These are newer than the file, or of a higher number, as clocks say little where files were
        copied. If the file is no checkpoint of the work dir, they are all of its checkpoints.
        """
        found, file = self.checkpoints(best=True), file.resolve()
        if file not in [one.resolve() for one in found]:
            return found
        time, (name, number) = file.stat().st_mtime, self._number(file)
        return [
            one
            for one in found
            if one.stat().st_mtime > time
            or (self._number(one)[0] == name and self._number(one)[1] > number)
        ]

    def newest_intact(self) -> str | None:
        """The newest checkpoint that is intact, which ``last_checkpoint`` then names.

        A training that was killed may leave the pointer empty, behind, or naming a damaged file;
        and files that it had begun to write, which are removed. In a work dir that was renamed or
        copied the pointer names the old place, and the file of that name here is meant.

        Returns:
            The checkpoint, or None where there is none yet.

        Raises:
            ValueError: There are checkpoints and all of them are damaged.
        """
        for folder in (self.path, *self.elsewhere):
            for begun in folder.glob('.*.tmp'):
                if _TEMPORARY.fullmatch(begun.name):
                    begun.unlink(missing_ok=True)
        text = self._pointer()
        if '://' in text:
            return text  # on a server, which has its own checks
        found, named = self.checkpoints(), self._named(text)
        if named is not None:  # first, whatever the clocks say
            found = [named, *(file for file in found if not file.samefile(named))]
        for file in found:
            if is_intact(file):
                if str(file) != text:
                    print_log(f'Resuming from {file}, the newest that is intact', 'current', 30)
                    self.point_to(file)
                return str(file)
            print_log(f'{file} is damaged (cut short or altered) and left aside', 'current', 30)
        if found:
            raise ValueError(
                f'all {len(found)} checkpoints in {self.path} are damaged; start again without '
                '--resume, or copy an intact one there'
            )
        (self.path / POINTER).unlink(missing_ok=True)
        return None

    def point_to(self, file: str | Path) -> None:
        """Makes ``last_checkpoint`` name a file."""
        encoding = locale.getpreferredencoding(False)  # which mmengine reads it by
        write_atomically(self.path / POINTER, str(file).encode(encoding, 'replace'))

    def set_aside(self, files: Iterable[Path], name: str) -> dict[Path, Path]:
        """Moves files into a new folder beside them, so that nothing is written over them.

        Args:
            files: Files in the work dir's folders.
            name: Name of the new folder; underscores are added where one of this name exists.

        Returns:
            Where each file is now.
        """
        moved = {}
        while any((folder / name).exists() for folder in (self.path, *self.elsewhere)):
            name += '_'
        for file in files:
            (file.parent / name).mkdir(exist_ok=True)
            moved[file] = file.rename(file.parent / name / file.name)
        return moved

    def _number(self, file: Path) -> tuple[str, int]:
        """A checkpoint's kind of name and its number; no name for other files."""
        for name in self.names:
            pattern = re.sub(r'\\\{.*?\\\}', r'(\\d+)', re.escape(name))
            match = re.fullmatch(f'(?:best_.+_)?{pattern}', file.name)
            if match:
                return name, int(match[1])
        return '', -1

    def _pointer(self) -> str:
        pointer = self.path / POINTER
        return pointer.read_text('locale', 'replace').strip() if pointer.is_file() else ''

    def _named(self, text: str) -> Path | None:
        if not text:
            return None
        name = PureWindowsPath(text).name  # the work dir may have been another system's
        places = (*(folder / name for folder in (self.path, *self.elsewhere)), Path(text))
        return next((place for place in places if place.is_file()), None)


def last_checkpoint(work_dir: str | Path) -> str | None:
    """The file that a work dir's ``last_checkpoint`` names, also where the folder was moved."""
    folder = WorkDir(Path(work_dir))
    text = folder._pointer()
    named = folder._named(text)
    return str(named) if named else text or None
