"""Files that tools write: never over one that they read, and never half of one."""

import os
import shutil
import sys
import tempfile
import time
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

Identity = tuple[int, int] | str
PathLike = str | os.PathLike[str]
_PATIENCE = 2.0  # seconds that Windows may take to let go of a file


def check_writes(outputs: Iterable[PathLike], inputs: Iterable[PathLike] = ()) -> None:
    """Checks files before any work is done for them; creates and changes none.

    A file is itself under every name: relative or absolute, through links, hard links, and in
    other cases where the file system tells none apart.

    Args:
        outputs: Files that will be written. Devices such as /dev/null are no files.
        inputs: Files that are read. Those that do not exist are for their readers to tell.

    Raises:
        ValueError: An output is an input, or another output, or a folder; or a file stands where
            its folder would be.
        PermissionError: An output, or its folder, is write-protected.
        OSError: Its folder cannot be written to for another reason.
    """
    read = {_identity(path): path for path in inputs}
    written: dict[Identity, PathLike] = {}
    folders: set[Path] = set()
    for path in outputs:
        if _is_device(path):
            continue
        identity = _identity(path)
        if identity in read:
            raise ValueError(
                f'{path} would overwrite {read[identity]}, which is read; name another file'
            )
        if identity in written:
            raise ValueError(
                f'{written[identity]} and {path} would be written to one file; name another'
            )
        written[identity] = path
        if os.path.isdir(path):
            raise ValueError(f'{path} is a folder, a file is to be written; name one in it')
        if os.path.exists(path) and not os.access(path, os.W_OK):
            raise PermissionError(f'{path} exists and is write-protected; name another file')
        folders.add(Path(os.path.realpath(path)).parent)
    for folder in folders:
        check_folder(folder)


def check_folder(folder: PathLike) -> None:
    """Checks that files can be written to a folder, or that it can be made; makes none.

    Raises:
        ValueError: It, or a folder above it, is a file; or its drive is not there.
        OSError: It cannot be written to.
    """
    place = Path(os.path.realpath(folder))
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    if not place.is_dir():
        what = 'a file' if place.exists() else 'not there'  # such as a drive
        raise ValueError(f'{place} is {what}, so nothing can be written to {folder}')
    try:
        tempfile.TemporaryFile(dir=place).close()
    except OSError as error:
        raise OSError(error.errno, f'cannot write to {folder}: {error.strerror}') from error


def check_replaceable(folder: PathLike, force: bool, inputs: Iterable[PathLike] = ()) -> None:
    """Checks that a folder may be written as a whole, with ``force`` in the place of what is there.

    Raises:
        ValueError: It exists, without ``force``; it is a file; or it holds an input, or the
            current folder, which would be deleted.
        OSError: The folder above it cannot be written to.
    """
    place = Path(os.path.realpath(folder))
    check_folder(place.parent)
    if not os.path.lexists(place):
        return
    if not place.is_dir():
        raise ValueError(f'{folder} is a file, a folder is to be written; name another')
    if not force:
        raise ValueError(f'{folder} exists; name another folder, or replace it with force')
    for path in (*inputs, Path.cwd()):
        if Path(os.path.realpath(path)).is_relative_to(place):
            raise ValueError(
                f'replacing {folder} would delete {path}, which is in use; name another'
            )


@contextmanager
def replacing(path: PathLike, suffix: str = '') -> Iterator[Path]:
    """Gives a file beside ``path`` to write to, which takes its place when the block ends.

    After an error, or Ctrl-C, ``path`` is as it was. Its folder is made. A link stays one, the
    file that it leads to is replaced; a device is written to directly.

    Args:
        path: The file to write.
        suffix: Suffix of the temporary file, for writers that go by it, such as '.mp4'.
    """
    if _is_device(path):
        yield Path(path)
        return
    place = Path(os.path.realpath(path))
    place.parent.mkdir(parents=True, exist_ok=True)
    name = place.name.encode(errors='surrogateescape')[:200].decode(errors='ignore')
    temporary = place.with_name(f'.{name}.{os.getpid()}.tmp{suffix}')
    try:
        yield temporary
        with temporary.open('r+b') as file:
            os.fsync(file.fileno())
        if place.exists():
            shutil.copymode(place, temporary)
        replace(temporary, place)
    finally:
        temporary.unlink(missing_ok=True)


def replace(source: PathLike, place: PathLike) -> None:
    """Moves a file, or a folder, in the place of another.

    Windows refuses that while some process has one of them open, as who reads a result, or looks
    for viruses; so there it is tried again for a while.

    Raises:
        OSError: It cannot be moved.
    """
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            os.replace(source, place)
            return
        except PermissionError:
            if sys.platform != 'win32' or time.monotonic() > end:
                raise
        time.sleep(0.05)


def write_atomically(path: PathLike, content: bytes) -> None:
    """Writes a file that is there whole or not at all; makes its folder.

    Raises:
        OSError: It cannot be written; what was there is as it was.
    """
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        told = f'cannot write {path}: {error.strerror or error}; what was there before is unchanged'
        raise OSError(error.errno, told) from error


def write_together(files: Mapping[Path, bytes]) -> None:
    """Writes files that belong together, such as the two of one network: all of them or none.

    Raises:
        OSError: One cannot be written; what was there is as it was.
    """
    places = [Path(os.path.realpath(path)) for path in files if not _is_device(path)]
    before = {place: place.read_bytes() if place.exists() else None for place in places}
    try:
        with ExitStack() as stack:  # all are written before the first takes its place
            for path, content in files.items():
                stack.enter_context(replacing(path)).write_bytes(content)
    except BaseException as error:
        for place, earlier in before.items():
            if earlier is None:
                place.unlink(missing_ok=True)
            elif place.read_bytes() != earlier:
                write_atomically(place, earlier)
        if not isinstance(error, OSError):
            raise
        names = ' and '.join(map(str, files))
        told = f'cannot write {names}: {error.strerror or error}; what was there is unchanged'
        raise OSError(error.errno, told) from error


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes a folder of files that is there whole or not at all, in the place of an earlier one.

    :func:`check_replaceable` says whether the earlier one may go.

    Args:
        folder: The folder.
        files: Content of each file by its name.
    """
    folder = Path(os.path.realpath(folder))
    folder.parent.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f'.{folder.name[:50]}.'))
    new, old = place / 'new', place / 'old'
    try:
        new.mkdir()
        for name, content in files.items():
            with (new / name).open('wb') as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    finally:
        if old.exists() and not folder.exists():  # interrupted in between
            old.rename(folder)
        shutil.rmtree(place)


def _identity(path: PathLike) -> Identity:
    """What all names of one file have in common."""
    try:
        found = os.stat(path)
    except OSError:  # not there yet: its name, as its file system compares it
        place = os.path.realpath(path)
        if _ignores_case(Path(place).parent):
            place = unicodedata.normalize('NFC', place).casefold()
        return place
    return found.st_dev, found.st_ino


@cache
def _ignores_case(folder: Path) -> bool:
    """Whether the file system that a folder is on, or will be, does not tell cases apart."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    other = folder.with_name(folder.name.swapcase()) if folder.name else folder
    return other != folder and other.exists() and other.samefile(folder)


def _is_device(path: PathLike) -> bool:
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)
